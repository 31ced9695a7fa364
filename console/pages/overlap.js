// How many customers segments have in common.

import { html } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useQuery } from "../lib/router.js";
import { ORDER, segmentName } from "../lib/segments.js";
import { Matrix } from "../parts/heat-map.js";
import { Menu } from "../parts/menu.js";
import { Empty, Panel, Switch } from "../parts/panel.js";
import { Scroll } from "../parts/table.js";

const DEFAULT = [
    "champions",
    "loyal",
    "at_risk",
    "cant_lose",
    "hibernating",
    "churn_high",
    "churn_medium",
    "churn_low",
];

export function Overlap() {
    const [query, setQuery] = useQuery();
    const { measure = "customers" } = query;
    const { data } = useApi({ path: "/v1/segments" });
    const names = data?.segments.map(({ name }) => name) ?? [];
    const audiences = data?.segments.filter(({ kind }) => kind === "audience").map(({ name }) => name) ?? [];
    const chosen =
        query.of !== undefined
            ? query.of.split(",").filter(Boolean)
            : [...DEFAULT, ...audiences].filter((name) => names.includes(name));
    const state = useApi(
        chosen.length > 1 ? { path: "/v1/overlap", query: { segments: chosen.join(",") } } : null,
    );
    const toggle = (name) => {
        const next = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name];
        setQuery({ of: names.filter((one) => next.includes(one)).join(",") || "," });
    };
    const tools = html`<${Switch} label=${t("measure")} value=${measure}
        onChange=${(value) => setQuery({ measure: value })}
        options=${[
            ["customers", t("customers")],
            ["share", t("overlap.share")],
            ["jaccard", "Jaccard"],
        ]} />
        <${Menu} label=${t("page.segments")} count=${chosen.length}>${names.map(
            (name) => html`<label><input type="checkbox" checked=${chosen.includes(name)}
                onChange=${() => toggle(name)} />${segmentName(name)}</label>`,
        )}<//>`;
    return html`<${Panel} title=${t("segments.tab_overlap")} note=${t(`overlap.note_${measure}`)}
        tools=${tools} height=${330}
        state=${chosen.length > 1 ? state : undefined} docs="over time/get_overlap">
        ${(answer) =>
            answer
                ? html`<${Pairs} pairs=${answer.pairs} names=${chosen} measure=${measure} />`
                : html`<${Empty} title=${t("overlap.choose")} />`}<//>`;
}

function Pairs({ pairs, names, measure }) {
    const ordered = [...names].sort((a, b) => place(a) - place(b));
    const cell = (row, column) => {
        if (row === column) return null;
        const pair = pairs.find(({ a, b }) => (a === row && b === column) || (a === column && b === row));
        if (!pair) return null;
        const share = pair.a === row ? pair.share_of_a : pair.share_of_b;
        const { value, text } = {
            customers: { value: pair.customers, text: format.count(pair.customers) },
            share: { value: share, text: format.percent(share) },
            jaccard: { value: pair.jaccard, text: format.fixed(pair.jaccard, 3) },
        }[measure];
        return {
            value,
            text,
            title: t("overlap.cell", {
                a: segmentName(row),
                b: segmentName(column),
                customers: format.count(pair.customers),
                share: format.percent(share),
            }),
        };
    };
    return html`<${Scroll} label=${t("segments.tab_overlap")}><${Matrix}
        label=${t("segments.tab_overlap")} rows=${ordered}
        columns=${ordered} nameOf=${segmentName} cell=${cell} corner=${html`<span
            class="hidden">${t("page.segments")}</span>`} /><//>`;
}

const place = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
