// The features of a view with their distributions over all customers.

import { html } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import { summaryOf } from "../lib/distribution.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { href } from "../lib/router.js";
import { kindOf } from "../lib/views.js";
import { Histogram } from "./bars.js";
import { Value } from "./members.js";
import { Scroll } from "./table.js";

/** @param {{view: {name: string, features: object[]}}} props A view as `GET /v1/views` describes it. */
export function FeatureTable({ view }) {
    const label = t("data.features");
    const statistics = useApi({ path: `/v1/views/${encodeURIComponent(view.name)}/statistics` });
    return html`<${Scroll} label=${label}><table class="features"><caption class="hidden">${label}</caption>
        <thead><tr><th scope="col">${t("feature")}</th><th scope="col">${t("data.type")}</th>
            <th scope="col" class="num">${t("data.nulls")}</th><th scope="col"
                class="num">${t("data.distinct")}</th>
            <th scope="col">${t("data.quantiles")}</th><th
                scope="col">${t("data.distribution")}</th></tr></thead>
        <tbody>${view.features.map(
            (feature) =>
                html`<${Row} key=${feature.name} statistics=${statistics} feature=${{
                    ...feature,
                    view: view.name,
                    name: `${view.name}.${feature.name}`,
                }} />`,
        )}</tbody></table><//>`;
}

function Row({ feature, statistics }) {
    const { name, type, description, personal } = feature;
    const known = statistics.data?.features[name.split(".")[1]];
    const summary = known && summaryOf(known, statistics.data.customers);
    const hasColumns = summary?.columns.length > 0 && !summary.isUnique;
    const isMasked = statistics.data?.masked?.includes(name);
    return html`<tr>
        <th scope="row"><span class="mono">${name.split(".")[1]}</span>
            ${personal && html` <span class="chip">${t("personal")}</span>`}
            ${description && html`<br /><small>${description}</small>`}</th>
        <td class="muted" title=${type}>${t(`type.${kindOf(type)}`)}</td>
        <td class="num">${summary ? format.percent(summary.nulls) : format.NONE}</td>
        <td class="num">${summary ? format.count(summary.distinct) : format.NONE}</td>
        <td>${
            isMasked
                ? html`<span class="masked">${t("masked")}</span>`
                : summary &&
                  html`<${Quantiles} name=${name}
            type=${type} summary=${summary} />`
        }</td>
        <td class="distribution">${
            hasColumns && html`<${Distribution} feature=${feature} summary=${summary} />`
        }</td>
    </tr>`;
}

function Quantiles({ name, type, summary }) {
    const value = (one) =>
        isTime(type) ? format.day(one) : html`<${Value} name=${name} type=${type} value=${one} />`;
    if (summary.isUnique) return html`<span class="muted">${t("data.unique")}</span>`;
    if (summary.quantiles) {
        const [least, lower, median, upper, greatest] = summary.quantiles.map(value);
        return html`<span
            class="quantiles">${least} · ${lower} · <b>${median}</b> · ${upper} · ${greatest}</span>`;
    }
    return summary.columns.slice(0, 4).map(
        ({ value: one, count }) => html`<span class="frequent"><a
        href=${href(["audiences"], { where: `${name} = ${quote(one)}` })}>${value(one)}</a>
        <small>${format.compact(count)}</small></span>`,
    );
}

const isTime = (type) => kindOf(type) === "time";

const quote = (value) => (typeof value === "string" ? JSON.stringify(value) : value);

function Distribution({ feature, summary }) {
    const { name, type } = feature;
    const show = (value) => {
        if (isTime(type)) return format.day(value);
        if (typeof value === "string") return value;
        if (typeof value === "boolean") return String(value);
        return format.brief(value);
    };
    const range = (from, to) => `${show(from)} – ${show(to)}`;
    const columns = summary.columns.map(({ from, to, value, count }) => ({
        count,
        title: `${from === undefined ? show(value) : range(from, to)}: ${format.count(count)}`,
    }));
    const ends = summary.quantiles ? [show(summary.columns[0].from), show(summary.columns.at(-1).to)] : null;
    return html`<${Histogram} columns=${columns} ends=${ends} label=${t("data.distribution_of", { name })}
        />`;
}
