// Moves between the segments of two snapshots, as a flow and as a matrix.

import { html } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useQuery } from "../lib/router.js";
import { ABSENT, ORDER, segmentName } from "../lib/segments.js";
import { Flow } from "../parts/flow.js";
import { Matrix } from "../parts/heat-map.js";
import { Empty, Panel, Select, Switch } from "../parts/panel.js";
import { Scroll } from "../parts/table.js";

const ALL = [...ORDER, ABSENT];

export function Migration() {
    const [{ kind = "rfm", from = "", to = "", measure = "customers", look = "flow" }, setQuery] = useQuery();
    const snapshots = useApi({ path: "/v1/snapshots" });
    const state = useApi({ path: "/v1/migration", query: { kind, from, to } });
    const choices = (snapshots.data?.snapshots ?? []).map(({ id, as_of: asOf }) => [id, format.day(asOf)]);
    const isAlone = snapshots.data?.snapshots.length === 1;
    const tools = html`<${Switch} label=${t("migration.look")} value=${look}
        onChange=${(value) => setQuery({ look: value })}
        options=${[
            ["flow", t("migration.flow")],
            ["matrix", t("migration.matrix")],
        ]} />`;
    return html`<div class="filters">
            <${Switch} label=${t("segments.kind")} value=${kind}
                onChange=${(value) => setQuery({ kind: value })}
                options=${[
                    ["rfm", "RFM"],
                    ["churn", t("page.churn")],
                ]} />
            <${Select} label=${t("from")} value=${from || state.data?.from.snapshot || ""} options=${choices}
                onChange=${(value) => setQuery({ from: value })} />
            <${Select} label=${t("to")} value=${to || state.data?.to.snapshot || ""} options=${choices}
                onChange=${(value) => setQuery({ to: value })} />
            ${
                look === "matrix" &&
                html`<${Switch} label=${t("measure")} value=${measure}
                onChange=${(value) => setQuery({ measure: value })}
                options=${[
                    ["customers", t("customers")],
                    ["revenue", t("revenue")],
                    ["revenue_change", t("migration.change")],
                ]} />`
            }
        </div>
        ${
            isAlone
                ? html`<${Panel} title=${t("segments.tab_migration")} request=${state.request}>
                ${() => html`<${Empty}
                    title=${t("overview.no_moves")}>${t("overview.no_moves_note")}<//>`}<//>`
                : html`<${Panel} title=${t("segments.tab_migration")} state=${state} tools=${tools}
                    height=${look === "flow" ? 580 : 420}
                docs="over time/get_migration" note=${
                    state.data
                        ? t("migration.note", {
                              from: format.day(state.data.from.as_of),
                              before: format.count(state.data.from.customers),
                              to: format.day(state.data.to.as_of),
                              after: format.count(state.data.to.customers),
                          })
                        : "\u00a0"
                }>
                ${({ cells }) =>
                    look === "flow"
                        ? html`<${Flow} label=${t("segments.tab_migration")} moves=${cells.map(named)}
                            order=${ALL} nameOf=${nameOf} />`
                        : html`<${MoveMatrix} cells=${cells.map(named)} measure=${measure} />`}<//>`
        }`;
}

/** A customer may be in no segment of the kind: the API says null. */
const named = (cell) => ({ ...cell, from: cell.from ?? "none", to: cell.to ?? "none" });

const nameOf = (name) => (name === "none" ? t("migration.none") : segmentName(name));

function MoveMatrix({ cells, measure }) {
    const ends = (end) => [...ALL, "none"].filter((name) => cells.some((cell) => cell[end] === name));
    const texts = { customers: format.count, revenue: format.compact, revenue_change: format.compact };
    const cell = (from, to) => {
        const found = cells.find((one) => one.from === from && one.to === to);
        return (
            found && {
                value: Math.abs(found[measure] ?? 0),
                text: texts[measure](found[measure]),
                title:
                    `${nameOf(from)} → ${nameOf(to)}: ` +
                    `${format.count(found.customers)}, ${format.wholeMoney(found.revenue)}`,
            }
        );
    };
    return html`<${Scroll} label=${t("migration.matrix")}><${Matrix} label=${t("migration.matrix")}
        rows=${ends("from")}
        columns=${ends("to")} nameOf=${nameOf} cell=${cell} corner=${t("migration.corner")} /><//>`;
}
