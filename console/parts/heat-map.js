// The map of R and F: a table of 25 cells whose color is a measure.

import { html } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { heat } from "./bars.js";

const SCORES = [1, 2, 3, 4, 5];

/**
 * A cell of the map.
 * @typedef {{value: number, text: string, note: string, href: string, title: string}} Cell
 */

/**
 * @param {object} props
 * @param {(r: number, f: number) => Cell} props.cell
 * @param {string} props.label
 */
export function HeatMap({ cell, label }) {
    const cells = SCORES.map((r) => SCORES.map((f) => cell(r, f)));
    const greatest = Math.max(...cells.flat().map(({ value }) => value ?? 0));
    const one = ({
        value,
        text,
        note,
        href,
        title,
    }) => html`<td><a class=${heat(value, greatest)} href=${href}
        title=${title}><b>${text}</b><small>${note}</small><span class="hidden">${title}</span></a></td>`;
    return html`<table class="heat-map"><caption class="hidden">${label}</caption>
        <thead><tr><td class="corner"></td>${SCORES.map(
            (f) => html`<th
            scope="col">F ${f}</th>`,
        )}</tr></thead>
        <tbody>${[...SCORES].reverse().map(
            (r) => html`<tr><th
            scope="row">R ${r}</th>${cells[r - 1].map(one)}</tr>`,
        )}
        </tbody></table>`;
}

/**
 * A matrix of two lists of names.
 * @param {object} props
 * @param {string[]} props.rows
 * @param {string[]} props.columns
 * @param {(name: string) => string} props.nameOf
 * @param {(row: string, column: string) => {value: number, text: string, title: string} | null} props.cell
 * @param {string} props.corner
 */
export function Matrix({ rows, columns, nameOf, cell, corner, label }) {
    const values = rows.flatMap((row) =>
        columns.map((column) => (row === column ? 0 : (cell(row, column)?.value ?? 0))),
    );
    const greatest = Math.max(...values);
    const one = (row, column) => {
        const found = cell(row, column);
        if (!found) return html`<td class="is-diagonal">${row === column ? "" : "·"}</td>`;
        const className = row === column ? "is-diagonal" : heat(found.value, greatest);
        return html`<td class=${className} title=${found.title}>${found.text}</td>`;
    };
    return html`<table class="matrix"><caption class="hidden">${label}</caption>
        <thead><tr><th scope="col">${corner}</th>${columns.map(
            (name) => html`<th
            scope="col">${nameOf(name)}</th>`,
        )}
        </tr></thead><tbody>${rows.map(
            (row) => html`<tr><th scope="row">${nameOf(row)}</th>
            ${columns.map((column) => one(row, column))}</tr>`,
        )}</tbody></table>
        <span class="hidden">${t("matrix.diagonal")}</span>`;
}
