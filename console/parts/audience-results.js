// Results of an audience: its breakdown by a feature, its differences from everybody, and its configuration.

import { html, useState } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import { comparisonRequest, comparisonRows } from "../lib/compare.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { useQuery } from "../lib/router.js";
import { kindOf } from "../lib/views.js";
import { BarList } from "./bars.js";
import { Value, featureTitle } from "./members.js";
import { Empty, Panel, Select, copyText } from "./panel.js";
import { Table } from "./table.js";

const TOP = 10;
const BUCKETS = 8;

/** Counts of the members by the values of a feature. */
export function Breakdown({ where, features }) {
    const [{ by = "rfm.segment" }, setQuery] = useQuery();
    const feature = features.find(({ name }) => name === by);
    const usable = features.filter(
        ({ type, view }) => kindOf(type) !== "other" && view !== "recommendations",
    );
    const breakdown = feature && breakdownRequest(feature);
    const state = useApi(feature ? { path: "/v1/audiences", body: { where, limit: 0, breakdown } } : null, {
        live: true,
    });
    const tools = html`<${Select} label=${t("audience.by")} hideLabel value=${by}
        onChange=${(next) => setQuery({ by: next })}
        options=${usable.map(({ name }) => [name, name])} />`;
    return html`<${Panel} title=${t("audience.breakdown")} state=${state} tools=${tools}
        docs="segments/query_audience"
        height=${170}>${({ breakdown: found, total }) => html`<${Counts} breakdown=${found}
            total=${total} feature=${feature} />`}<//>`;
}

/** Returns the breakdown that fits a feature: by value, or by quantiles for numbers and times. */
function breakdownRequest({ name, type }) {
    const isCounted = ["text", "boolean"].includes(kindOf(type)) || type === "Int32";
    return isCounted ? { feature: name, top: TOP } : { feature: name, buckets: BUCKETS };
}

/** Bars of a breakdown. */
function Counts({ breakdown, total, feature }) {
    if (!breakdown) return html`<${Empty} title=${t("audience.no_breakdown")} />`;
    const bar = (name, customers, tone) => ({
        name,
        value: customers,
        text: format.count(customers),
        note: format.percent(total ? customers / total : null),
        tone,
    });
    const value = (one) => html`<${Value} name=${feature.name} value=${one} type=${feature.type} />`;
    const rows = (breakdown.values ?? []).map((one) => bar(value(one.value), one.customers));
    for (const { from, to, customers } of breakdown.buckets ?? []) {
        rows.push(bar(from === to ? value(from) : html`${value(from)} – ${value(to)}`, customers));
    }
    const { other } = breakdown;
    if (other?.customers) {
        rows.push(
            bar(
                t("audience.other", { count: other.values, n: format.count(other.values) }),
                other.customers,
                "muted",
            ),
        );
    }
    if (breakdown.null) rows.push(bar(t("audience.null"), breakdown.null, "muted"));
    return html`<${BarList} label=${t("audience.breakdown")} rows=${rows} />`;
}

/** Features by which the audience differs most from all customers. */
export function Comparison({ where, features }) {
    const state = useApi(comparisonRequest(where), { live: true });
    return html`<${Panel} title=${t("audience.compare")} note=${t("audience.compare_note")}
        state=${state} height=${260} docs="segments/query_audience">
        ${({ comparison }) => html`<${Differences} features=${features} rows=${comparisonRows(comparison)}
            />`}<//>`;
}

function Differences({ rows, features }) {
    if (rows.length === 0) return html`<${Empty} title=${t("audience.no_difference")} />`;
    const typeOf = Object.fromEntries(features.map(({ name, type }) => [name, type]));
    const figure = ({ feature, value }, figure) => {
        if (value !== undefined) return format.percent(figure);
        return kindOf(typeOf[feature]) === "time"
            ? `⌀ ${format.day(figure)}`
            : `⌀ ${format.decimal(figure, 2)}`;
    };
    const columns = [
        {
            name: "feature",
            title: t("feature"),
            head: true,
            cell: (row) => html`<span title=${row.feature}>
            ${featureTitle(row.feature)}</span>${
                row.value !== undefined &&
                html`: <${Value} name=${row.feature}
            value=${row.value} type=${typeOf[row.feature]} />`
            }`,
        },
        { name: "own", title: t("audience.here"), number: true, cell: (row) => figure(row, row.own) },
        { name: "all", title: t("audience.everybody"), number: true, cell: (row) => figure(row, row.all) },
        {
            name: "lift",
            title: t("audience.lift"),
            number: true,
            cell: ({ lift }) => html`<${Lift} lift=${lift} />`,
        },
    ];
    return html`<${Table} label=${t("audience.compare")} columns=${columns} rows=${rows} />`;
}

function Lift({ lift }) {
    if (lift === null) return format.NONE;
    return html`<span class=${lift >= 1 ? "good" : "bad"}>${format.fixed(lift, 2)} ×</span>`;
}

/** The lines of the configuration that make the audience a segment of every build. */
export function SaveAudience({ where }) {
    const [{ name, description, priority }, setFields] = useState({
        name: "my_audience",
        description: "",
        priority: "",
    });
    const [copied, setCopied] = useState(false);
    const set = (field) => (event) => {
        setCopied(false);
        setFields({ name, description, priority, [field]: event.currentTarget.value });
    };
    const isName = /^[a-z0-9_]{1,64}$/.test(name);
    const lines = [`[audiences.${name}]`, `where = ${tomlText(where)}`];
    if (description) lines.push(`description = ${tomlText(description)}`);
    if (priority) lines.push(`priority = ${Number(priority)}`);
    const copy = async () => {
        await copyText(`${lines.join("\n")}\n`);
        setCopied(true);
    };
    return html`<${Panel} title=${t("audience.save")} note=${t("audience.save_note")}>
        ${() => html`<div class="filters">
                <label class="field"><span>${t("name")}</span><input value=${name} onInput=${set("name")}
                    aria-invalid=${isName ? "false" : "true"} spellcheck="false" /></label>
                <label class="field"><span>${t("audience.description")}</span><input
                    value=${description} size="32"
                    onInput=${set("description")} /></label>
                <label class="field"><span>${t("audience.priority")}</span><input type="number" min="1"
                    value=${priority}
                    onInput=${set("priority")} /></label>
                <button type="button" disabled=${!isName}
                    onClick=${copy}>${t(copied ? "panel.copied" : "copy")}</button>
            </div>
            ${
                isName
                    ? html`<pre tabindex="0" aria-label=${t("audience.save")}>${lines.join("\n")}</pre>`
                    : html`<p class="bad" role="alert">${t("audience.bad_name")}</p>`
            }`}<//>`;
}

/** Writes a text as TOML: a basic string, or a literal one if that needs no escapes. */
function tomlText(text) {
    if (!/["\\]/.test(text)) return `"${text}"`;
    if (!/['\n]/.test(text)) return `'${text}'`;
    return `"${text.replace(/["\\]/g, String.raw`\$&`).replaceAll("\n", String.raw`\n`)}"`;
}
