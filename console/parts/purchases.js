// The purchases of a customer: amounts over time, and the lines of each order.

import { html, useState } from "../vendor/preact.js";
import { epoch, useApi } from "../lib/api.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { amountsOverTime, ordersOf } from "../lib/purchases.js";
import { useStore } from "../lib/store.js";
import { ColumnChart } from "./charts.js";
import { Empty, Panel } from "./panel.js";
import { Scroll } from "./table.js";

/** Lines of a page, as many as the service allows. */
const PAGE_SIZE = 1000;

/** Whether the last answer was that the snapshot has no purchases, so that no space is reserved for them. */
let isWithout = false;

/** @param {{path: string}} props Path of the customer. */
export function Purchases({ path }) {
    // Cursors into an earlier snapshot go with it.
    return html`<${Pages} key=${useStore(epoch)} path=${path} />`;
}

function Pages({ path }) {
    const [cursors, setCursors] = useState([]);
    const page = (cursor) => ({ path: `${path}/purchases`, query: { limit: PAGE_SIZE, cursor } });
    const state = useApi([page(), ...cursors.map(page)]);
    if (state.error || state.data) isWithout = state.error?.status === 400;
    if (isWithout) return null;
    return html`<${Panel} title=${t("customer.purchases")} state=${state}
        docs="customers/get_customer_purchases" height=${[612, 326]} wide>
        ${(pages) => {
            const { total, as_of: asOf } = pages[0];
            const { next } = pages.at(-1);
            const lines = pages.flatMap(({ purchases }) => purchases);
            if (total === 0) return html`<${Empty} title=${t("customer.no_purchases")} />`;
            const more = html` <button type="button" disabled=${state.loading}
                onClick=${() => setCursors([...cursors, next])}>${t("customer.more_purchases")}</button>`;
            return html`<p class="count"><span role="status">
                    ${next ? newestText(lines.length, total) : linesText(total)}</span>${next && more}</p>
                <div class="pair"><${OverTime} lines=${lines} asOf=${asOf} isComplete=${!next} />
                    <${Orders} orders=${ordersOf(lines)} /></div>`;
        }}<//>`;
}

const linesText = (count) => t("customer.lines", { count, n: format.count(count) });

const newestText = (shown, total) =>
    t("customer.newest_lines", { shown: format.count(shown), total: format.count(total) });

function OverTime({ lines, asOf, isComplete }) {
    const { unit, periods } = amountsOverTime(lines, { asOf, isComplete });
    const nameOf = unit === "month" ? format.month : format.year;
    return html`<${ColumnChart} label=${t("customer.purchases")} height=${230}
        rows=${periods.map(({ start, amount }) => ({ name: nameOf(start), value: Math.max(0, amount) }))}
        formatValue=${format.compact} formatTick=${format.compact} nameTitle=${t(`customer.${unit}`)}
        valueTitle=${t("amount")} />`;
}

function Orders({ orders }) {
    const label = t("customer.orders");
    const line = ({ product, product_id: id, quantity, amount }) => html`<tr>
        <td>${product ?? id} ${product && html`<small class="mono">${id}</small>`}</td>
        <td class="num">${format.decimal(quantity, 4)}</td><td class="num">${format.money(amount)}</td></tr>`;
    const order = ({ id, lines, amount }) => html`<tbody key=${id}>
        <tr class="order"><th scope="rowgroup" colspan="2">${format.time(lines[0].at)}
            <span class="mono"> ${id}</span></th><td class="num"><b>${format.money(amount)}</b></td></tr>
        ${lines.map(line)}</tbody>`;
    return html`<${Scroll} label=${label} isTall><table><caption class="hidden">${label}</caption>
        <thead><tr><th scope="col">${t("product")}</th><th scope="col" class="num">${t("quantity")}</th>
            <th scope="col" class="num">${t("amount")}</th></tr></thead>
        ${orders.map(order)}</table><//>`;
}
