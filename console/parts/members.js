// Lists of customers in pages, with the columns that the reader chooses.

import { html, useEffect, useState } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t, tOr } from "../lib/i18n.js";
import { href } from "../lib/router.js";
import { actionName, reasonText, riskName, segmentName } from "../lib/segments.js";
import { hasProductIds, namesOf, useFeatures, valueOf } from "../lib/views.js";
import { Menu } from "./menu.js";
import { Empty, Panel } from "./panel.js";
import { Pager, Table } from "./table.js";

const PAGE_SIZE = 25;

/** Texts of features that the console has words for. */
const WORDS = {
    "rfm.segment": segmentName,
    "churn.risk": (risk) => html`<span class=${`risk ${risk}`}>${riskName(risk)}</span>`,
    "churn.action": actionName,
    "churn.probability": (value) => format.percent(value),
    "churn.reasons": (reasons) => html`<${Reasons} reasons=${reasons} />`,
    "behavior.favourite_weekday": format.weekday,
    "behavior.return_rate": (value) => format.percent(value),
    "rfm.rfm_score": (value) => html`<span class="mono">${value}</span>`,
};

/**
 * Shows the value of a feature: in words if there are some, masked if the key may not see it. `names` has the
 * names of products whose ids are the value.
 */
export function Value({ name, value, type, masked, names }) {
    if (masked?.includes(name))
        return html`<span class="masked" title=${t("masked.note")}>${t("masked")}</span>`;
    if (value === null || value === undefined) return format.NONE;
    if (Array.isArray(names)) return value.map((id, at) => names[at] ?? id ?? format.NONE).join(", ");
    if (names) return html`${names} <small class="mono">${value}</small>`;
    return WORDS[name]?.(value) ?? format.featureValue(value, type);
}

/** The reasons of a churn risk in words. */
export function Reasons({ reasons }) {
    return html`<ul class="reasons">${reasons.map(
        (reason) => html`<li class=${reason.direction}>
        <span>${reasonText(reason)}<span
            class="hidden"> (${t(`reason.${reason.direction}`)})</span>${
            reason.share > 0 &&
            html` <span class="muted" title=${t("reason.share", { share: format.percent(reason.share, 0) })}
                >${format.percent(reason.share, 0)}</span>`
        }</span></li>`,
    )}</ul>`;
}

/** Returns the title of a column: the feature, without its view where the name alone is clear. */
export function featureTitle(name) {
    const words = name.split(".")[1].replaceAll("_", " ");
    return tOr(`feature.${name}`, words[0].toUpperCase() + words.slice(1));
}

/**
 * A panel with a list of customers.
 * @param {object} props
 * @param {import("../lib/api.js").ApiRequest} props.request The list, without `limit`, `cursor` and `views`.
 * @param {string[]} props.columns Features to show.
 * @param {(columns: string[]) => void} props.setColumns
 */
export function Members({ title, note, request, columns, setColumns, tools, docs, empty, live }) {
    const [cursors, setCursors] = useState([]);
    const features = useFeatures();
    const name = JSON.stringify(request);
    useEffect(() => setCursors([]), [name]);
    const state = useApi(request && pageRequest(request, columns, cursors.at(-1)), { live });
    return html`<${Panel} title=${title} note=${note} state=${state} docs=${docs} height=${420} wide
        tools=${html`${tools}<${ColumnsMenu} features=${features} columns=${columns}
            setColumns=${setColumns} />`}>
        ${(page) =>
            page.customers.length === 0 && cursors.length === 0
                ? (empty ?? html`<${Empty} title=${t("members.none")} />`)
                : html`<${MemberTable} title=${title} page=${page} columns=${columns} features=${features} />
            <${Pager} list=${title} total=${format.count(page.total)} shown=${page.customers.length}
                first=${page.customers[0]?.rank ?? 0}
                next=${page.next} cursors=${cursors} onMove=${setCursors} />`}<//>`;
}

function pageRequest(request, columns, cursor) {
    const views = [...new Set(columns.map((column) => column.split(".")[0]))];
    const names = columns.some(hasProductIds) && { names: true };
    if (!request.body) {
        const query = { ...request.query, limit: PAGE_SIZE, views: views.join(","), ...names, cursor };
        return { ...request, query };
    }
    const body = { ...request.body, limit: PAGE_SIZE, views, ...names, ...(cursor && { cursor }) };
    return { ...request, body };
}

function MemberTable({ title, page, columns, features }) {
    const typeOf = Object.fromEntries(features.map(({ name, type }) => [name, type]));
    const isNumber = (name) =>
        /^(Int|Float|Decimal)/.test(typeOf[name] ?? "") && name !== "behavior.favourite_weekday";
    const all = [
        { name: "rank", title: "#", number: true, cell: ({ rank }) => format.count(rank) },
        {
            name: "id",
            title: t("customer"),
            head: true,
            cell: (row) => html`<a class="mono"
            href=${href(["customers", row.customer_id])}>${row.customer_id}</a>`,
        },
        ...columns.map((name) => ({
            name,
            title: html`<span title=${name}>${featureTitle(name)}</span>`,
            number: isNumber(name),
            cell: ({
                views,
            }) => html`<${Value} name=${name} value=${valueOf(views, name)} type=${typeOf[name]}
                names=${namesOf(views, name)} masked=${page.masked} />`,
        })),
    ];
    return html`<${Table} label=${title} columns=${all} rows=${page.customers}
        rowKey=${(row) => row.customer_id} />`;
}

/** A menu of all features, by view. */
function ColumnsMenu({ features, columns, setColumns }) {
    const views = [...new Set(features.map(({ view }) => view))];
    const toggle = (name) => {
        const chosen = columns.includes(name)
            ? columns.filter((column) => column !== name)
            : [...columns, name];
        setColumns(features.map((feature) => feature.name).filter((column) => chosen.includes(column)));
    };
    const option = ({ name, personal, description }) => html`<label title=${description}>
        <input type="checkbox" checked=${columns.includes(name)} onChange=${() => toggle(name)} />
        ${featureTitle(name)}${personal && html` <small>${t("personal")}</small>`}</label>`;
    const group = (view) => html`<h3>${view}</h3>
        ${features.filter((feature) => feature.view === view).map(option)}`;
    return html`<${Menu} label=${t("columns")} count=${columns.length}>${views.map(group)}<//>`;
}
