// Tables: of few rows, sorted in the page, or of pages that the API cuts.

import { html, useState } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";

/**
 * A column of a table.
 * @typedef {object} Column
 * @property {string} name
 * @property {unknown} title
 * @property {(row: any) => unknown} cell
 * @property {(row: any) => number | string} [sort] Value that the column sorts by.
 * @property {boolean} [number] Whether the column is aligned to the right.
 * @property {boolean} [head] Whether the cell names the row.
 */

/**
 * @param {object} props
 * @param {string} props.label Name of the table for screen readers.
 * @param {Column[]} props.columns
 * @param {any[]} props.rows
 * @param {(row: any) => string} [props.rowKey]
 */
export function Table({ label, columns, rows, rowKey, initialSort = null }) {
    const [order, setOrder] = useState(initialSort);
    const sorted = order
        ? sortRows(
              rows,
              columns.find(({ name }) => name === order.name),
              order.descending,
          )
        : rows;
    const head = (column) => {
        const className = column.number ? "num" : undefined;
        if (!column.sort) return html`<th scope="col" class=${className}>${column.title}</th>`;
        const isSorted = order?.name === column.name;
        const direction = isSorted ? (order.descending ? "descending" : "ascending") : undefined;
        const sort = () =>
            setOrder({
                name: column.name,
                descending: isSorted ? !order.descending : Boolean(column.number),
            });
        return html`<th scope="col" class=${className} aria-sort=${direction}>
            <button type="button" class="sort" onClick=${sort}>${column.title}</button></th>`;
    };
    const cell = (column, row) =>
        column.head
            ? html`<th scope="row">${column.cell(row)}</th>`
            : html`<td class=${column.number ? "num" : undefined}>${column.cell(row)}</td>`;
    return html`<${Scroll} label=${label}><table><caption class="hidden">${label}</caption>
        <thead><tr>${columns.map(head)}</tr></thead>
        <tbody>${sorted.map(
            (row, index) => html`<tr key=${rowKey?.(row) ?? index}>
            ${columns.map((column) => cell(column, row))}</tr>`,
        )}</tbody>
    </table><//>`;
}

/** A part of the page that scrolls by itself if it is too wide, or with `isTall` too high. */
export function Scroll({ label, isTall, children }) {
    return html`<div class=${isTall ? "scroll is-tall" : "scroll"} tabindex="0" role="group"
        aria-label=${label}>${children}</div>`;
}

function sortRows(rows, column, descending) {
    const compare = (a, b) => {
        const [left, right] = [column.sort(a), column.sort(b)];
        if (left === null || right === null) return (left === null) - (right === null);
        const order = typeof left === "string" ? left.localeCompare(right) : left - right;
        return descending ? -order : order;
    };
    return [...rows].sort(compare);
}

/** Buttons to the next and the former pages of a list. Cursors lead forward only, so former ones are kept. */
export function Pager({ list, total, shown, first, next, cursors, onMove }) {
    const range = { first: shown ? first : 0, last: first + shown - 1, total };
    return html`<nav class="pager" aria-label=${t("pager", { list })}>
        <button type="button" disabled=${cursors.length === 0} onClick=${() => onMove(cursors.slice(0, -1))}>
            ${t("pager.previous")}</button>
        <span role="status">${t("pager.range", range)}</span>
        <button type="button" disabled=${!next}
            onClick=${() => onMove([...cursors, next])}>${t("pager.next")}</button>
    </nav>`;
}
