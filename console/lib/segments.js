// Names and the order of segments.

import { tOr } from "./i18n.js";

/** The segments of RFM, best first; churn segments, least risk first. */
export const ORDER = [
    "champions",
    "loyal",
    "potential_loyalist",
    "new",
    "promising",
    "need_attention",
    "about_to_sleep",
    "at_risk",
    "cant_lose",
    "hibernating",
    "returns_only",
    "prospect",
    "churn_low",
    "churn_medium",
    "churn_high",
];

/** The RFM segments by their cells of R and F, as the documentation defines them. */
const CELLS = [
    ["champions", 5, 5, 4, 5],
    ["loyal", 3, 4, 4, 5],
    ["potential_loyalist", 4, 5, 2, 3],
    ["new", 5, 5, 1, 1],
    ["promising", 4, 4, 1, 1],
    ["need_attention", 3, 3, 3, 3],
    ["about_to_sleep", 3, 3, 1, 2],
    ["at_risk", 1, 2, 3, 4],
    ["cant_lose", 1, 2, 5, 5],
    ["hibernating", 1, 2, 1, 2],
];

/** Returns the segment of a cell of R and F. */
export function cellSegment(r, f) {
    return CELLS.find(
        ([, leastR, greatestR, leastF, greatestF]) =>
            r >= leastR && r <= greatestR && f >= leastF && f <= greatestF,
    )[0];
}

/** The place of customers whom an earlier snapshot does not have, or a later one no longer has. */
export const ABSENT = "absent";

/** Tells whether a move leads to a better segment, a worse one, or neither. */
export function direction(from, to) {
    const [before, after] = [ORDER.indexOf(from), ORDER.indexOf(to)];
    if (before === -1 || after === -1 || before === after) return "same";
    return after < before ? "better" : "worse";
}

/** Returns the name of a segment for people; audiences keep their own names. */
export const segmentName = (name) => (name ? tOr(`segment.${name}`, name.replaceAll("_", " ")) : "");

/** Returns the name of a risk level or an action of the policy for people. */
export const riskName = (risk) => tOr(`risk.${risk}`, risk);
export const actionName = (action) => tOr(`action.${action}`, action?.replaceAll("_", " "));

/**
 * Returns a reason of the churn model in words: the API's own, or the name of the theme if the reader's
 * language has one and the text is in another. That a reason raises or lowers the risk is left out, because a
 * sign says so.
 */
export function reasonText({ theme, text }) {
    const own = text.replace(/: this (raises|lowers) the risk$|：风险(升高|降低)$/, "");
    return /\p{Script=Han}/u.test(own) ? own : tOr(`theme.${theme}`, own);
}
