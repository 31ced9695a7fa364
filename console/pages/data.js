// Data: views with their features, models, snapshots, raw lines, and the stages of the build.

import { html } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t, tOr } from "../lib/i18n.js";
import { href, useQuery } from "../lib/router.js";
import { BarList } from "../parts/bars.js";
import { FeatureTable } from "../parts/features.js";
import { Panel } from "../parts/panel.js";
import { Table } from "../parts/table.js";
import { Tabs } from "../parts/tabs.js";

/** Keeps the place of a text that is on its way. */
const NOTHING = "\u00a0";

const TABS = { views: Views, models: ModelCards, snapshots: Snapshots, lines: Lines, build: Build };

export function Page() {
    const [{ tab = "views" }] = useQuery();
    const Tab = TABS[tab] ?? Views;
    return html`<${Tabs} path=${["data"]} current=${tab} tabs=${Object.keys(TABS)} prefix="data" /><${Tab}
        />`;
}

function Views() {
    const state = useApi({ path: "/v1/views" });
    const [{ view }, setQuery] = useQuery();
    const views = state.data?.views ?? [];
    const shown = views.find(({ name }) => name === view) ?? views[0];
    const tools = html`<div class="switch" role="group" aria-label=${t("data.tab_views")}>${views.map(
        ({ name }) =>
            html`<button type="button" aria-pressed=${name === shown?.name ? "true" : "false"}
            onClick=${() => setQuery({ view: name })}>${name}</button>`,
    )}</div>`;
    return html`<div class="filters">${tools}</div>
        <${Panel} title=${shown?.name ?? t("data.tab_views")} note=${shown?.description ?? NOTHING}
            state=${state}
            docs="catalog/list_views"
            height=${480}>
            ${() => html`<p class="note">${t("data.source", { source: shown.source })}</p>
                <${FeatureTable} key=${shown.name} view=${shown} />`}<//>`;
}

function ModelCards() {
    const churn = useApi({ path: "/v1/models/churn" });
    const value = useApi({ path: "/v1/models/value" });
    const next = useApi({ path: "/v1/models/recommendations" });
    return html`<div class="grid">
        <${Panel} title=${t("data.churn_model")} state=${churn} docs="catalog/get_model" height=${160}>
            ${({ card }) =>
                html`<${Facts} facts=${[
                    [t("data.chosen"), card.chosen],
                    [t("data.horizon"), t("days", days(card.horizon_days))],
                    [t("model.rows"), format.count(card.training_rows)],
                    [t("data.trusted"), t(card.trusted ? "yes" : "no")],
                    [t("model.doubts"), [...card.reasons, ...card.caveats].join("; ") || format.NONE],
                ]} /><p class="note"><a
                    href=${href(["churn"], { tab: "model" })}>${t("data.whole_card")}</a></p>`}<//>
        ${
            !value.error &&
            html`<${Panel} title=${t("data.value_model")} state=${value} docs="catalog/get_model"
                height=${160}>
            ${({ card }) =>
                html`<${Facts} facts=${[
                    [t("data.chosen"), card.chosen],
                    [t("data.horizon"), t("days", days(card.horizon_days))],
                    [t("data.measured_days"), t("days", days(card.measured_days))],
                    [t("model.rows"), format.count(card.training_rows)],
                    [t("data.trusted"), t(card.trusted ? "yes" : "no")],
                    [t("model.doubts"), [...card.reasons, ...card.caveats].join("; ") || format.NONE],
                ]} />`}<//>
            <${Panel} title=${t("data.measured_value")} state=${value} docs="catalog/get_model" height=${160}>
            ${({ card }) => html`<${MeasuredValue} card=${card} />`}<//>`
        }
        <${Panel} title=${t("data.next_model")} state=${next} docs="catalog/get_model" height=${160}>
            ${({ card }) =>
                html`<${Facts} facts=${[
                    [t("data.products"), format.count(card.products)],
                    [t("data.with_history"), format.count(card.customers_with_history)],
                    [t("data.without_history"), format.count(card.customers_without_history)],
                    [t("data.buy_again_rule"), card.buy_again_rule],
                    [t("data.trained"), card.training && format.day(card.training.at)],
                    [t("data.method"), card.method],
                    [t("data.notes"), card.notes.join("; ")],
                ]} />`}<//>
        ${["products", "buy_again"].map(
            (list) => html`<${Panel} title=${t(`data.measured_${list}`)} state=${next}
            docs="catalog/get_model" height=${180}>
            ${({ card }) => html`<${Measured} measured=${card.measured} list=${list} />`}<//>`,
        )}
    </div>`;
}

const days = (count) => ({ count, n: format.count(count) });

function Facts({ facts }) {
    return html`<dl class="facts-list">${facts
        .filter(([, value]) => value !== null && value !== undefined && value !== "")
        .map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

/** Accuracy of the candidates for the customer value on the latest cutoff. */
function MeasuredValue({ card }) {
    const cut = card.cuts.at(-1);
    if (!cut) return html`<p>${t("data.not_measured")}</p>`;
    const figure = (name, title, formatted = (value) => format.fixed(value, 3)) => ({
        name,
        title,
        number: true,
        cell: (row) => formatted(row[name]),
    });
    const columns = [
        {
            name: "name",
            title: t("model.candidate"),
            head: true,
            cell: ({ name }) => html`<span class=${name === card.chosen ? "good" : ""}>${tOr(
                `candidate.${name}`,
                name,
            )}</span>`,
        },
        figure("mean_absolute_error", t("data.mean_error"), format.money),
        figure("bias", t("data.bias"), (value) => format.percent(value, 1)),
        figure("explained_deviance", t("data.explained")),
        figure("rank_correlation", t("data.rank_correlation")),
        figure("top_decile_share", t("data.top_decile"), (value) => format.percent(value, 0)),
    ];
    return html`<p class="note">${t("data.measured_value_note", {
        day: format.day(cut.at),
        days: format.count(cut.horizon_days),
        customers: format.count(cut.customers),
    })}</p><${Table} label=${t("data.measured_value")} columns=${columns} rows=${cut.candidates}
        rowKey=${({ name }) => name} />`;
}

function Measured({ measured, list }) {
    if (!measured?.[list]) return html`<p>${t("data.not_measured")}</p>`;
    const figure = (name) => ({
        name,
        title: t(`data.${name}`),
        number: true,
        cell: (row) => format.fixed(row[name], 4),
    });
    const columns = [
        { name: "name", title: t("model.candidate"), head: true, cell: ({ name }) => name },
        figure("hit_rate"),
        figure("recall"),
        figure("ndcg"),
    ];
    return html`<p class="note">${t("data.measured_note", {
        day: format.day(measured.split),
        days: format.count(measured.horizon_days),
        customers: format.count(measured[list].customers),
    })}</p><${Table} label=${t(`data.measured_${list}`)} columns=${columns}
        rows=${measured[list].candidates} />`;
}

function Snapshots() {
    const state = useApi({ path: "/v1/snapshots" });
    const columns = [
        {
            name: "id",
            title: t("data.snapshot"),
            head: true,
            cell: ({ id, current }) => html`<span class="mono">${id}</span>
            ${current && html` <span class="chip is-on">${t("data.current")}</span>`}`,
        },
        { name: "as_of", title: t("as_of"), cell: (row) => format.time(row.as_of), sort: (row) => row.as_of },
        {
            name: "created",
            title: t("data.created"),
            cell: (row) => format.time(row.created_at),
            sort: (row) => row.created_at,
        },
        {
            name: "customers",
            title: t("customers"),
            number: true,
            cell: ({ customers }) => format.count(customers),
            sort: ({ customers }) => customers,
        },
        {
            name: "fingerprint",
            title: t("data.fingerprint"),
            cell: ({ fingerprint }) => html`<span class="mono muted"
            title=${fingerprint}>${fingerprint.slice(0, 12)}</span>`,
        },
    ];
    return html`<${Panel} title=${t("data.tab_snapshots")} state=${state}
        docs="catalog/list_snapshots" height=${240}>
        ${({
            snapshots,
        }) => html`<${Table} label=${t("data.tab_snapshots")} columns=${columns} rows=${snapshots}
            rowKey=${({ id }) => id} />`}<//>`;
}

/** Loads the manifest of the current snapshot, which needs the scope `admin`. */
function useManifest() {
    const segments = useApi({ path: "/v1/segments" });
    const { data } = segments;
    const manifest = useApi(data ? { path: `/v1/snapshots/${data.snapshot}` } : null);
    return segments.error ? segments : manifest;
}

function Lines() {
    const state = useManifest();
    const tables = Object.entries(state.data?.counts ?? {});
    return html`<div class="grid">
        ${
            !state.data &&
            html`<${Panel} title=${t("data.tab_lines")} state=${state} docs="catalog/get_snapshot"
                height=${200}>
            ${() => null}<//>`
        }
        ${tables.map(
            ([name, counts]) => html`<${Panel} title=${name} state=${state} docs="catalog/get_snapshot" third
            note=${t("data.lines", { count: counts.lines, n: format.count(counts.lines) })}>
            ${() => html`<${TableCounts} counts=${counts} />`}<//>`,
        )}
        ${
            state.data?.warnings.length > 0 &&
            html`<${Panel} title=${t("data.warnings")} state=${state}
            docs="catalog/get_snapshot" wide>
            ${({ warnings }) =>
                html`<ul class="timeline">${warnings.map(
                    ({ message }) => html`<li class="warning">
                ${message}</li>`,
                )}</ul>`}<//>`
        }
        ${
            state.data &&
            html`<${Panel} title=${t("data.sources")} state=${state} docs="catalog/get_snapshot" wide>
            ${({ sources }) => html`<${Sources} sources=${sources} />`}<//>`
        }
    </div>`;
}

function TableCounts({ counts }) {
    const fates = Object.entries(counts.fates)
        .filter(([, lines]) => lines > 0)
        .sort(([, a], [, b]) => b - a);
    const isSetAside = ["bad", "no_customer", "neither", "forgotten", "after_as_of"];
    return html`<${BarList} label=${t("data.fates")} rows=${fates.map(([fate, lines]) => ({
        name: t(`fate.${fate}`),
        value: lines,
        text: format.count(lines),
        note: format.percent(lines / counts.lines),
        tone: fate === "bad" ? "bad" : isSetAside.includes(fate) ? "muted" : undefined,
    }))} />
        ${
            counts.duplicates > 0 &&
            html`<p
            class="note">${t("data.duplicates", { n: format.count(counts.duplicates) })}</p>`
        }
        ${
            counts.bad_causes.length > 0 &&
            html`<h3>${t("data.bad_causes")}</h3><ul class="timeline">
            ${counts.bad_causes.map(
                ({ cause, lines, examples }) => html`<li>
                <b>${format.count(lines)}</b> ${cause}
                <details><summary class="muted">${t("data.examples")}</summary>
                    ${examples.map((text) => html`<p class="mono muted">${text}</p>`)}</details></li>`,
            )}</ul>`
        }`;
}

function Sources({ sources }) {
    const columns = [
        {
            name: "path",
            title: t("data.file"),
            head: true,
            cell: ({ path }) => html`<span class="mono">${path}</span>`,
        },
        { name: "table", title: t("data.table"), cell: ({ table }) => table },
        {
            name: "lines",
            title: t("data.file_lines"),
            number: true,
            cell: ({ lines }) => format.count(lines),
            sort: ({ lines }) => lines,
        },
        {
            name: "bytes",
            title: t("data.size"),
            number: true,
            cell: ({ bytes }) => format.bytes(bytes),
            sort: ({ bytes }) => bytes,
        },
    ];
    return html`<${Table} label=${t("data.sources")} columns=${columns} rows=${sources}
        rowKey=${({ path }) => path} />`;
}

function Build() {
    const state = useManifest();
    return html`<div class="grid">
        <${Panel} title=${t("data.stages")} state=${state} docs="catalog/get_snapshot" height=${320}>
            ${({ stages }) =>
                html`<${BarList} label=${t("data.stages")} rows=${stages.map(({ name, seconds }) => ({
                    name: name.replaceAll("_", " "),
                    value: seconds,
                    text: format.seconds(seconds),
                }))} />`}<//>
        <${Panel} title=${t("data.files")} state=${state} docs="catalog/get_snapshot" height=${320}>
            ${({ files, fingerprint, larder, format: version }) =>
                html`<${Facts} facts=${[
                    ["Larder", larder],
                    [t("data.format"), version],
                    [t("data.fingerprint"), html`<span class="mono">${fingerprint}</span>`],
                    [t("data.size"), format.bytes(files.reduce((sum, file) => sum + file.bytes, 0))],
                ]} /><${Files} files=${files} />`}<//>
    </div>`;
}

function Files({ files }) {
    const columns = [
        {
            name: "path",
            title: t("data.file"),
            head: true,
            cell: ({ path }) => html`<span class="mono">${path}</span>`,
        },
        {
            name: "rows",
            title: t("data.rows"),
            number: true,
            cell: ({ rows }) => format.count(rows),
            sort: ({ rows }) => rows,
        },
        {
            name: "bytes",
            title: t("data.size"),
            number: true,
            cell: ({ bytes }) => format.bytes(bytes),
            sort: ({ bytes }) => bytes,
        },
    ];
    return html`<${Table} label=${t("data.files")} columns=${columns} rows=${files}
        rowKey=${({ path }) => path} />`;
}
