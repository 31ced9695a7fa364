// One segment: definition, size and revenue over time, who entered and left, and the members.

import { html, useEffect, useState } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { href, useQuery } from "../lib/router.js";
import { segmentName } from "../lib/segments.js";
import { LineChart } from "../parts/charts.js";
import { ExportButton } from "../parts/export.js";
import { Members } from "../parts/members.js";
import { Empty, Figure, Panel, Switch } from "../parts/panel.js";
import { Pager, Table } from "../parts/table.js";

const COLUMNS = "rfm.recency_days,rfm.frequency,rfm.monetary,rfm.rfm_score,churn.probability,churn.risk";
const PATH = "/v1/segments";
const CHANGES = 15;

export function SegmentPage({ name }) {
    const [query, setQuery] = useQuery();
    const path = `${PATH}/${encodeURIComponent(name)}`;
    const state = useApi({ path });
    const columns = (query.columns ?? COLUMNS).split(",").filter(Boolean);
    const members = { path: `${path}/customers` };
    const exportButton = html`<${ExportButton} request=${{ path: `${path}/export` }} columns=${columns}
        name=${name} />`;
    return html`<p class="note"><a href="#/segments">← ${t("page.segments")}</a></p>
    <div class="grid">
        <${Panel} title=${segmentName(name)} state=${state} docs="segments/get_segment"
            height=${[225, 103]} wide>
            ${(segment) => html`<p class="definition">${segment.definition}</p><dl class="figures">
                <${Figure} name=${t("customers")} value=${format.count(segment.size)} />
                <${Figure} name=${t("share")} value=${format.percent(segment.share)} />
                <${Figure} name=${t("revenue")} value=${format.wholeMoney(segment.revenue)} />
                <${Figure} name=${t("segments.per_customer")}
                    value=${format.wholeMoney(segment.size ? segment.revenue / segment.size : null)} />
                <${Figure} name="R · F · M" value=${["r", "f", "m"]
                    .map((score) => format.fixed(segment[`mean_${score}_score`], 1))
                    .join(" · ")} />
                <${Figure} name=${t("segments.kind")} value=${t(`kind.${segment.kind}`)} /></dl>
                <p class="note"><a href=${href(["audiences"], { where: `segment:${name}` })}>
                    ${t("segments.build_on")}</a></p>`}<//>
        ${
            !state.error &&
            html`
            <${History} path=${path} by=${query.by ?? "size"} setQuery=${setQuery} />
            <${Turnover} path=${path} />
            <${Changes} path=${path} />
            <${Members} title=${t("segments.members")} request=${members} columns=${columns}
                tools=${exportButton}
                setColumns=${(chosen) => setQuery({ columns: chosen.join(",") })}
                    docs="segments/list_segment_customers" />`
        }
    </div>`;
}

function History({ path, by, setQuery }) {
    const state = useApi({ path: `${path}/history` });
    const tools = html`<${Switch} label=${t("measure")} value=${by}
        onChange=${(value) => setQuery({ by: value })}
        options=${[
            ["size", t("customers")],
            ["revenue", t("revenue")],
            ["share", t("share")],
        ]} />`;
    const formats = {
        size: format.count,
        revenue: format.wholeMoney,
        share: (value) => format.percent(value),
    };
    return html`<${Panel} title=${t("segments.over_time")} state=${state}
        docs="over time/get_segment_history" tools=${tools}
        height=${250}>
        ${({ history }) => html`<${LineChart} label=${t("segments.over_time")} formatValue=${formats[by]}
            formatTick=${by === "share" ? (value) => format.percent(value, 0) : format.compact}
            series=${[
                {
                    name: t({ size: "customers", revenue: "revenue", share: "share" }[by]),
                    points: history.map((then) => ({ at: then.as_of, value: then[by] })),
                },
            ]} />`}<//>`;
}

function Turnover({ path }) {
    const state = useApi({ path: `${path}/history` });
    return html`<${Panel} title=${t("segments.turnover")} state=${state}
        docs="over time/get_segment_history" height=${250}>
        ${({ history }) => {
            const known = history.filter(({ added, dropped }) => added !== null || dropped !== null);
            if (known.length === 0)
                return html`<${Empty} title=${t("segments.one_snapshot")}>${t("overview.no_moves_note")}<//>`;
            const points = (name) => known.map((then) => ({ at: then.as_of, value: then[name] }));
            return html`<${LineChart} label=${t("segments.turnover")} formatValue=${format.count} series=${[
                { name: t("segments.entered"), points: points("added") },
                { name: t("segments.left"), tone: "tone-bad", points: points("dropped") },
            ]} />`;
        }}<//>`;
}

/** Who entered and left since the snapshot before; services of earlier versions do not tell. */
function Changes({ path }) {
    const [{ direction = "both" }, setQuery] = useQuery();
    const [cursors, setCursors] = useState([]);
    useEffect(() => setCursors([]), [direction]);
    const state = useApi({
        path: `${path}/changes`,
        query: { direction, limit: CHANGES, views: "rfm", cursor: cursors.at(-1) },
    });
    if (state.error) return null;
    const columns = [
        {
            name: "id",
            title: t("customer"),
            head: true,
            cell: (row) => html`<a class="mono"
            href=${href(["customers", row.customer_id])}>${row.customer_id}</a>`,
        },
        {
            name: "change",
            title: t("change"),
            cell: (row) => html`<span class=${row.change === "left" ? "bad" : "good"}>
            ${t(`segments.${row.change}`)}</span>${
                row.absent_in &&
                html`<small>
                ${t(`segments.absent_${row.absent_in}`)}</small>`
            }`,
        },
        {
            name: "segment",
            title: t("segments.now"),
            cell: ({ views }) => segmentName(views?.rfm?.segment) || format.NONE,
        },
        {
            name: "monetary",
            title: t("revenue"),
            number: true,
            cell: ({ views }) => format.money(views?.rfm?.monetary),
        },
    ];
    const tools = html`<${Switch} label=${t("change")} value=${direction}
        onChange=${(value) => setQuery({ direction: value })}
        options=${[
            ["both", t("all")],
            ["entered", t("segments.entered")],
            ["left", t("segments.left")],
        ]} />`;
    return html`<${Panel} title=${t("segments.changes")} state=${state}
        docs="over time/list_segment_changes" height=${420} wide
        tools=${tools} note=${
            state.data &&
            t("segments.changes_note", {
                from: format.day(state.data.from.as_of),
                to: format.day(state.data.to.as_of),
                entered: format.count(state.data.entered),
                left: format.count(state.data.left),
            })
        }>
        ${(page) => html`<${Table} label=${t("segments.changes")} columns=${columns} rows=${page.customers}
                rowKey=${(row) => row.customer_id} />
            <${Pager} list=${t("segments.changes")} total=${format.count(page.total)}
                shown=${page.customers.length} first=${page.customers[0]?.rank ?? 0}
                next=${page.next} cursors=${cursors} onMove=${setCursors} />`}<//>`;
}
