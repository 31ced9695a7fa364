// Overview: the snapshot, its segments, the map of R and F, churn by value, and what has moved.

import { html } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { href, useQuery } from "../lib/router.js";
import {
    ORDER,
    actionName,
    cellSegment,
    direction,
    reasonText,
    riskName,
    segmentName,
} from "../lib/segments.js";
import { BarList, heat } from "../parts/bars.js";
import { HeatMap } from "../parts/heat-map.js";
import { Empty, Figure, Panel, Switch } from "../parts/panel.js";
import { Table } from "../parts/table.js";

const RISKS = ["high", "medium", "low"];
const LEVELS = ["high", "medium", "low"];
const MOST_MOVES = 8;
const MOST_AT_RISK = 8;
/** Buckets from which the mean of a cell is estimated. */
const BUCKETS = 20;

const SEGMENTS = { path: "/v1/segments" };

export function Page() {
    const segments = useApi(SEGMENTS);
    return html`<div class="grid">
        <${Snapshot} segments=${segments} />
        <${Segments} state=${segments} />
        <${Grid} />
        <${RiskByValue} />
        <${MostAtRisk} />
        <${Moves} />
    </div>`;
}

function Snapshot({ segments }) {
    const snapshots = useApi({ path: "/v1/snapshots" });
    const ready = useApi({ path: "/readyz" });
    const tier = ready.data?.tiers.tair?.used ? "Tair" : t("tier.snapshot");
    return html`<${Panel} title=${t("overview.snapshot")} state=${segments}
        docs="catalog/list_snapshots" height=${[232, 68]}
        request=${[SEGMENTS, { path: "/v1/snapshots" }, { path: "/readyz" }]} wide>
        ${({ snapshot, as_of: asOf, customers, segments: all }) => {
            const created = snapshots.data?.snapshots.find(({ id }) => id === snapshot)?.created_at;
            const revenue = sum(
                all.filter(({ kind }) => kind === "rfm"),
                "revenue",
            );
            return html`<dl class="figures">
                <${Figure} name=${t("customers")} value=${format.count(customers)} />
                <${Figure} name=${t("revenue")} value=${format.wholeMoney(revenue)} />
                <${Figure} name=${t("as_of")} value=${format.time(asOf)} note="UTC" />
                <${Figure} name=${t("overview.age")} value=${format.ago(asOf)}
                    note=${created && t("overview.built", { time: format.ago(created) })} />
                <${Figure} name=${t("overview.tier")} value=${tier} note=${html`<span
                    class="mono">${snapshot}</span>`} />
            </dl>`;
        }}<//>`;
}

/** Returns a share; null if a number of it is withheld. */
function shareOf(part, total) {
    return part === null || !total ? null : part / total;
}

/** Returns a sum; null if a number of it is withheld. */
function sum(rows, name) {
    return rows.some((row) => row[name] === null) ? null : rows.reduce((total, row) => total + row[name], 0);
}

function Segments({ state }) {
    const [{ by = "size" }, setQuery] = useQuery();
    const tools = html`<${Switch} label=${t("measure")} value=${by}
        onChange=${(value) => setQuery({ by: value })}
        options=${[
            ["size", t("customers")],
            ["revenue", t("revenue")],
        ]} />`;
    return html`<${Panel} title=${t("overview.segments")} state=${state} docs="segments/list_segments"
        tools=${tools}
        height=${434}>
        ${({ segments }) => {
            const rfm = segments.filter(({ kind }) => kind === "rfm");
            const others = segments.filter(({ kind }) => kind !== "rfm");
            const total = sum(rfm, by);
            const row = (segment) => ({
                name: segmentName(segment.name),
                value: segment[by],
                text: format.count(segment[by]),
                note: format.percent(by === "size" ? segment.share : shareOf(segment.revenue, total)),
                href: href(["segments", segment.name]),
                title: segment.definition,
            });
            return html`<${BarList} isAligned label=${t("overview.segments")} rows=${rfm.map(row)} />
                <h3>${t("overview.other_segments")}</h3>
                <${BarList} isAligned label=${t("overview.other_segments")} rows=${others.map(row)} />`;
        }}<//>`;
}

/** The request for a cell of the map: its figures, and its churn probabilities as quantiles. */
function cellRequest(r, f) {
    return {
        path: "/v1/audiences",
        body: {
            where: `rfm.r_score = ${r} and rfm.f_score = ${f}`,
            limit: 0,
            breakdown: { feature: "churn.probability", buckets: BUCKETS },
        },
    };
}

const CELLS = [1, 2, 3, 4, 5].flatMap((r) => [1, 2, 3, 4, 5].map((f) => cellRequest(r, f)));

/** Estimates a mean from buckets with nearly equal numbers of members. */
function meanOf(breakdown) {
    const buckets = breakdown?.buckets ?? [];
    const members = sum(buckets, "customers");
    const middle = ({ from, to, customers }) => ((from + to) / 2) * customers;
    return members ? buckets.reduce((total, bucket) => total + middle(bucket), 0) / members : null;
}

function Grid() {
    const [{ map = "size" }, setQuery] = useQuery();
    const state = useApi(CELLS, { allowsWithheld: true });
    const tools = html`<${Switch} label=${t("measure")} value=${map}
        onChange=${(value) => setQuery({ map: value })}
        options=${[
            ["size", t("customers")],
            ["revenue", t("revenue")],
            ["churn", t("overview.churn")],
        ]} />`;
    return html`<${Panel} title=${t("overview.grid")} note=${t("overview.grid_note")} state=${state}
        tools=${tools}
        docs="segments/query_audience" height=${[320, 350]}>
        ${(answers) =>
            html`<${HeatMap} label=${t("overview.grid")} cell=${(r, f) => {
                const { total, revenue, breakdown } = answers[(r - 1) * 5 + f - 1];
                const churn = meanOf(breakdown);
                const name = segmentName(cellSegment(r, f));
                const texts = {
                    size: format.count(total),
                    revenue: format.compact(revenue),
                    churn: format.percent(churn, 0),
                };
                return {
                    value: { size: total, revenue, churn }[map],
                    text: texts[map],
                    note: name,
                    href: href(["segments", cellSegment(r, f)]),
                    title: t("overview.cell", {
                        r,
                        f,
                        name,
                        customers: texts.size,
                        revenue: format.wholeMoney(revenue),
                        churn: texts.churn,
                    }),
                };
            }} />`}<//>`;
}

/** Returns the conditions of a level of the value that the policy distinguishes. */
function levelCondition(level, { high, medium }) {
    return {
        high: `churn.expected_value >= ${high}`,
        medium: `churn.expected_value >= ${medium} and churn.expected_value < ${high}`,
        low: `churn.expected_value < ${medium}`,
    }[level];
}

function RiskByValue() {
    const model = useApi({ path: "/v1/models/churn" });
    const levels = model.data?.card.value_levels;
    const cells = RISKS.flatMap((risk) => LEVELS.map((level) => ({ risk, level })));
    const where = ({ risk, level }) => `churn.risk:${risk} and ${levelCondition(level, levels)}`;
    const request = (cell) => ({
        path: "/v1/audiences",
        body: { where: where(cell), limit: 0, breakdown: { feature: "churn.action", top: 1 } },
    });
    const counts = useApi(levels ? cells.map(request) : null, { allowsWithheld: true });
    const state = model.error ? model : counts;
    return html`<${Panel} title=${t("overview.risk")} note=${t("overview.risk_note")} state=${state}
        height=${[230, 318]}
        docs="segments/query_audience">
        ${(answers) => {
            const greatest = Math.max(...answers.map(({ revenue }) => revenue ?? 0));
            const cell = (risk, level) => {
                const at = cells.findIndex((one) => one.risk === risk && one.level === level);
                const { total, revenue, breakdown } = answers[at];
                const action = breakdown?.values[0] && actionName(breakdown.values[0].value);
                const note = [format.count(total), action].filter(Boolean).join(" · ");
                const title = t("overview.risk_cell", {
                    risk: riskName(risk),
                    level: t(`level.${level}`),
                    customers: format.count(total),
                    revenue: format.wholeMoney(revenue),
                });
                return html`<td><a class=${heat(revenue, greatest)} title=${title}
                    href=${href(["audiences"], { where: where(cells[at]) })}><b>${format.compact(revenue)}</b>
                    <small>${note}</small>
                    <span class="hidden">${title}</span></a></td>`;
            };
            return html`<table class="heat-map is-tall"><caption
                class="hidden">${t("overview.risk")}</caption>
                <thead><tr><td class="corner"></td>${LEVELS.map(
                    (level) => html`<th scope="col">
                    ${t(`level.${level}`)}</th>`,
                )}</tr></thead>
                <tbody>${RISKS.map(
                    (risk) => html`<tr><th scope="row">${riskName(risk)}</th>
                    ${LEVELS.map((level) => cell(risk, level))}</tr>`,
                )}</tbody></table>`;
        }}<//>`;
}

function MostAtRisk() {
    const state = useApi({ path: "/v1/churn", query: { limit: MOST_AT_RISK, views: "churn,rfm" } });
    const columns = [
        {
            name: "id",
            title: t("customer"),
            head: true,
            cell: (row) => html`<a class="mono"
            href=${href(["customers", row.customer_id])}>${row.customer_id}</a>`,
        },
        {
            name: "value",
            title: t("churn.value"),
            number: true,
            cell: ({ views }) => format.wholeMoney(views.churn.value_at_risk),
        },
        {
            name: "p",
            title: t("churn.probability"),
            number: true,
            cell: ({ views }) => format.percent(views.churn.probability, 0),
        },
        {
            name: "why",
            title: t("churn.reason"),
            cell: ({ views }) => views.churn.reasons.length > 0 && reasonText(views.churn.reasons[0]),
        },
    ];
    const tools = html`<a href=${href(["churn"])}>${t("overview.whole_list")}</a>`;
    return html`<${Panel} title=${t("overview.most_at_risk")} state=${state}
        docs="segments/list_churn" height=${230}
        tools=${tools}>${({
            customers,
        }) => html`<${Table} label=${t("overview.most_at_risk")} columns=${columns}
            rows=${customers} rowKey=${(row) => row.customer_id} />`}<//>`;
}

function Moves() {
    const state = useApi({ path: "/v1/migration", query: { kind: "rfm" } });
    if (state.error?.status === 404 || state.error?.status === 400) {
        return html`<${Panel} title=${t("overview.moves")} request=${state.request}
            docs="over time/get_migration" wide>
            ${() => html`<${Empty} title=${t("overview.no_moves")}>${t("overview.no_moves_note")}<//>`}<//>`;
    }
    return html`<${Panel} title=${t("overview.moves")} state=${state} docs="over time/get_migration"
        height=${250} wide
        tools=${html`<a href=${href(["segments"], { tab: "migration" })}>${t("overview.whole_flow")}</a>`}>
        ${({ from, to, cells }) =>
            html`<p class="note">${t("overview.moves_note", {
                from: format.day(from.as_of),
                to: format.day(to.as_of),
            })}</p><div class="pair"><${Changes} cells=${cells} /><${GreatestMoves} cells=${cells}
                /></div>`}<//>`;
}

function Changes({ cells }) {
    const sizes = (end) =>
        Object.fromEntries(
            ORDER.map((name) => [
                name,
                sum(
                    cells.filter((cell) => cell[end] === name),
                    "customers",
                ),
            ]),
        );
    const [before, after] = [sizes("from"), sizes("to")];
    const rows = ORDER.filter((name) => before[name] !== 0 || after[name] !== 0);
    const isKnown = (name) => before[name] !== null && after[name] !== null;
    const change = (name) => (isKnown(name) ? after[name] - before[name] : null);
    const columns = [
        {
            name: "segment",
            title: t("segment"),
            head: true,
            cell: (name) => html`<a href=${href(["segments", name])}>
            ${segmentName(name)}</a>`,
        },
        {
            name: "before",
            title: t("before"),
            number: true,
            cell: (name) => format.count(before[name]),
            sort: (name) => before[name],
        },
        {
            name: "after",
            title: t("after"),
            number: true,
            cell: (name) => format.count(after[name]),
            sort: (name) => after[name],
        },
        {
            name: "change",
            title: t("change"),
            number: true,
            cell: (name) => format.signed(change(name)),
            sort: change,
        },
    ];
    return html`<${Table} label=${t("overview.moves")} columns=${columns} rows=${rows}
        rowKey=${(name) => name} />`;
}

function GreatestMoves({ cells }) {
    const moved = cells
        .filter(({ from, to, customers }) => from && to && from !== to && customers)
        .sort((a, b) => b.customers - a.customers)
        .slice(0, MOST_MOVES);
    const row = ({ from, to, customers, revenue_change: change }) => ({
        name: `${segmentName(from)} → ${segmentName(to)}`,
        value: customers,
        text: format.count(customers),
        note: change ? t("overview.revenue_change", { change: format.signedCompact(change) }) : null,
        tone: { worse: "bad", same: "muted" }[direction(from, to)],
        title: `${segmentName(from)} → ${segmentName(to)}`,
    });
    return html`<div><h3>${t("overview.greatest_moves")}</h3>
        <${BarList} label=${t("overview.greatest_moves")} rows=${moved.map(row)} /></div>`;
}
