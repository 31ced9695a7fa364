// One customer: found by id, with features, risk, next products, membership and history.

import { html } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { go, href, route } from "../lib/router.js";
import { actionName, riskName, segmentName } from "../lib/segments.js";
import { useStore } from "../lib/store.js";
import { namesOf, useFeatures } from "../lib/views.js";
import { LineChart } from "../parts/charts.js";
import { Reasons, Value, featureTitle } from "../parts/members.js";
import { Empty, Figure, Panel } from "../parts/panel.js";
import { Purchases } from "../parts/purchases.js";
import { Table } from "../parts/table.js";

/** Views that have a panel of their own here; other views are listed below them. */
const KNOWN_VIEWS = ["profile", "rfm", "behavior", "churn", "value", "recommendations", "segments"];
const PATH = "/v1/customers";
const RFM_SCORES = ["r", "f", "m"];

export function Page() {
    const [id] = useStore(route).rest;
    return id ? html`<${Customer} id=${id} />` : html`<${Find} />`;
}

function Find() {
    const state = useApi({ path: "/v1/churn", query: { limit: 5 } });
    const submit = (event) => {
        event.preventDefault();
        const id = event.currentTarget.elements.id.value.trim();
        if (id) go(["customers", id]);
    };
    return html`<${Panel} title=${t("customer.find")} docs="customers/get_customer">
        ${() => html`<form class="filters" onSubmit=${submit}>
            <label class="field"><span>${t("customer.id")}</span>
                <input name="id" size="32" autocomplete="off" spellcheck="false" required /></label>
            <button class="primary">${t("customer.open")}</button></form>
            <p class="note">${t("customer.find_note")}</p>
            ${
                state.data?.customers.length > 0 &&
                html`<p>${t("customer.examples")} ${state.data.customers.map(
                    (row) =>
                        html` <a class="mono"
                            href=${href(["customers", row.customer_id])}>${row.customer_id}</a> `,
                )}</p>`
            }`}<//>`;
}

function Customer({ id }) {
    const path = `${PATH}/${encodeURIComponent(id)}`;
    const state = useApi({ path, query: { names: true } });
    if (state.error?.kind === "customer-not-found") {
        return html`<div class="stack"><${Panel} title=${id} request=${state.request}>
            ${() => html`<${Empty}
                title=${t("customer.none", { id })}>${t("customer.none_note")}<//>`}<//><${Find} /></div>`;
    }
    const views = state.data?.views ?? {};
    return html`<div class="grid">
        <${Panel} title=${id} state=${state} docs="customers/get_customer" height=${[162, 52]} wide>
            ${() => html`<${Summary} views=${views} />`}<//>
        <${Risk} state=${state} />
        <${Worth} state=${state} />
        <${View} name="profile" state=${state} />
        <${Spending} path=${path} />
        <${Path} path=${path} />
        <${Purchases} path=${path} />
        <${Recommendations} path=${path} />
        <div class="stack"><${View} name="rfm" state=${state} /><${Membership} path=${path} /></div>
        <${View} name="behavior" state=${state} />
        ${Object.keys(views)
            .filter((name) => !KNOWN_VIEWS.includes(name))
            .map((name) => html`<${View} name=${name} state=${state} />`)}
    </div>`;
}

function Summary({ views }) {
    const { rfm, churn } = views;
    if (!rfm) return html`<p>${t("customer.no_rfm")}</p>`;
    return html`<dl class="figures">
        <${Figure} name=${t("segment")} value=${html`<a href=${href(["segments", rfm.segment])}>
            ${segmentName(rfm.segment)}</a>`} />
        <${Figure} name="R · F · M"
            value=${RFM_SCORES.map((score) => rfm[`${score}_score`] ?? format.NONE).join(" · ")} />
        <${Figure} name=${t("revenue")} value=${format.money(rfm.monetary)} />
        <${Figure} name=${t("customer.orders")} value=${format.count(rfm.frequency)} />
        <${Figure} name=${t("customer.last_order")} value=${
            rfm.recency_days === null
                ? format.NONE
                : t("days", { count: rfm.recency_days, n: format.count(rfm.recency_days) })
        } />
        ${
            churn &&
            html`<${Figure} name=${t("churn.risk")} value=${html`<span class=${`risk ${churn.risk}`}>
            ${riskName(churn.risk)} · ${format.percent(churn.probability, 0)}</span>`} />`
        }
    </dl>`;
}

function Risk({ state }) {
    return html`<${Panel} title=${t("customer.risk")} state=${state} docs="customers/get_customer"
        height=${[200, 190]}>
        ${({ views: { churn } }) =>
            churn
                ? html`
            <${Reasons} reasons=${churn.reasons ?? []} />
            <h3>${t("customer.at_stake")}</h3>
            <dl class="facts-list">
                <dt>${t("churn.probability")}</dt><dd>${format.percent(churn.probability)}</dd>
                <dt>${t("churn.expected")}</dt><dd>${format.money(churn.expected_value)}</dd>
                <dt>${t("churn.value")}</dt><dd>${format.money(churn.value_at_risk)}</dd>
                <dt>${t("churn.action")}</dt><dd><b>${actionName(churn.action)}</b></dd>
            </dl>`
                : html`<${Empty} title=${t("customer.no_risk")} />`}<//>`;
}

/** What the customer has spent, and what is expected of the next year. Earlier snapshots do not tell. */
function Worth({ state }) {
    const model = useApi({ path: "/v1/models/value" });
    if (model.error) return null;
    const card = model.data?.card;
    return html`<${Panel} title=${t("customer.value")} note=${t("customer.value_note")} state=${state}
        docs="customers/get_customer" height=${[200, 190]}>
        ${({ views: { value } }) =>
            value
                ? html`<dl class="facts-list">
                <dt>${t("value.historic")}</dt><dd>${format.money(value.historic_clv)}</dd>
                <dt>${t("value.predicted")}</dt><dd>${format.money(value.predicted_clv)}</dd>
                <dt>${t("value.total")}</dt><dd><b>${format.money(value.total_clv)}</b></dd>
                <dt>${t("value.orders")}</dt><dd>${format.fixed(value.predicted_number_of_orders, 1)}</dd>
                <dt>${t("value.order_value")}</dt><dd>${format.money(value.average_order_value)}</dd>
                <dt>${t("value.next_order")}</dt><dd>${
                    value.expected_date_of_next_order
                        ? format.day(value.expected_date_of_next_order)
                        : t("value.no_next_order")
                }</dd>
            </dl>${card && !card.trusted && html`<p class="note">${t("value.not_trusted")}</p>`}`
                : html`<${Empty} title=${t("customer.no_value")} />`}<//>`;
}

/** All features of a view. */
function View({ name, state }) {
    const features = useFeatures().filter(({ view }) => view === name);
    return html`<${Panel} title=${t("customer.view", { name })} state=${state}
        docs="customers/get_customer" height=${[200, 190]}>
        ${({ views, masked }) => {
            if (!views[name]) return html`<${Empty} title=${t("customer.not_in_view")} />`;
            const shown =
                features.length > 0
                    ? features
                    : Object.keys(views[name]).map((feature) => ({ name: `${name}.${feature}`, type: "" }));
            const row = ({
                name: full,
                type,
                description,
            }) => html`<dt title=${description}>${featureTitle(full)}</dt>
                <dd><${Value} name=${full} type=${type} masked=${masked} names=${namesOf(views, full)}
                    value=${views[name][full.split(".")[1]]} /></dd>`;
            return html`<dl class="facts-list">${shown.map(row)}</dl>`;
        }}<//>`;
}

function historyRequest(path) {
    const features = [
        "rfm.segment",
        "rfm.monetary",
        "rfm.frequency",
        "churn.probability",
        "churn.value_at_risk",
    ];
    return { path: `${path}/history`, query: { features: features.join(",") } };
}

function Spending({ path }) {
    const state = useApi(historyRequest(path));
    return html`<${Panel} title=${t("customer.over_time")} state=${state}
        docs="over time/get_customer_history" height=${250}>
        ${({ history }) => {
            const found = oldestFirst(history);
            const points = (view, feature) =>
                found.map(({ as_of: at, views }) => ({ at, value: views[view]?.[feature] ?? null }));
            return html`<${LineChart} label=${t("customer.over_time")}
                formatValue=${format.wholeMoney} height=${190} series=${[
                    { name: t("customer.spent"), points: points("rfm", "monetary") },
                    { name: t("churn.value"), tone: "tone-bad", points: points("churn", "value_at_risk") },
                ]} />`;
        }}<//>`;
}

const oldestFirst = (history) =>
    history.filter(({ found }) => found).sort((a, b) => a.as_of.localeCompare(b.as_of));

function Path({ path }) {
    const state = useApi(historyRequest(path));
    return html`<${Panel} title=${t("customer.history")} state=${state}
        docs="over time/get_customer_history" height=${250}>
        ${({ history }) => {
            const columns = [
                { name: "at", title: t("as_of"), head: true, cell: ({ as_of: at }) => format.day(at) },
                {
                    name: "segment",
                    title: t("segment"),
                    cell: ({ views }) => segmentName(views.rfm?.segment) || format.NONE,
                },
                {
                    name: "orders",
                    title: t("customer.orders"),
                    number: true,
                    cell: ({ views }) => format.count(views.rfm?.frequency),
                },
                {
                    name: "monetary",
                    title: t("customer.spent"),
                    number: true,
                    cell: ({ views }) => format.money(views.rfm?.monetary),
                },
                {
                    name: "churn",
                    title: t("churn.probability"),
                    number: true,
                    cell: ({ views }) => format.percent(views.churn?.probability, 0),
                },
            ];
            return html`<${Table} label=${t("customer.history")} columns=${columns}
                rows=${oldestFirst(history).reverse()}
                rowKey=${({ snapshot }) => snapshot} />`;
        }}<//>`;
}

function Recommendations({ path }) {
    const state = useApi({ path: `${path}/recommendations` });
    return html`<${Panel} title=${t("customer.next")} state=${state} height=${300} wide
        docs="recommendations/get_recommendations">
        ${({ products, buy_again: again }) => {
            const product = {
                name: "product",
                title: t("product"),
                head: true,
                cell: (row) => html`${row.name ?? row.product_id}
                <small class="mono"> ${row.product_id}</small>`,
            };
            const newOnes = [
                product,
                {
                    name: "why",
                    title: t("customer.why"),
                    cell: ({ because, score }) =>
                        because
                            ? t("customer.because", { name: because.name ?? because.product_id })
                            : score
                              ? format.NONE
                              : t("customer.best_seller"),
                },
                {
                    name: "score",
                    title: t("customer.score"),
                    number: true,
                    cell: ({ score }) => format.fixed(score, 2),
                },
            ];
            const repeats = [
                product,
                {
                    name: "last",
                    title: t("customer.last_on"),
                    number: true,
                    cell: (row) => format.day(row.last_on),
                },
                {
                    name: "due",
                    title: t("customer.due_on"),
                    number: true,
                    cell: (row) => format.day(row.due_on),
                },
            ];
            return html`<div class="pair"><div><h3>${t("customer.new_products")}</h3>
                <${Table} label=${t("customer.new_products")} columns=${newOnes} rows=${products} /></div>
                <div><h3>${t("customer.buy_again")}</h3>${
                    again.length > 0
                        ? html`<${Table} label=${t("customer.buy_again")} columns=${repeats} rows=${again} />`
                        : html`<${Empty} title=${t("customer.no_repeats")} />`
                }</div></div>`;
        }}<//>`;
}

/** The segments of the customer; services of earlier versions do not tell. */
function Membership({ path }) {
    const state = useApi({ path: `${path}/segments` });
    if (state.error) return null;
    return html`<${Panel} title=${t("customer.membership")} state=${state}
        docs="customers/get_customer_segments">
        ${({ segments }) =>
            segments.length > 0
                ? html`<p class="figures">${segments.map(
                      (name) => html`<a class="chip is-on" href=${href(["segments", name])}>
                ${segmentName(name)}</a>`,
                  )}</p>`
                : html`<${Empty} title=${t("customer.no_segments")} />`}<//>`;
}
