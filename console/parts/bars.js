// Bars and cells made of HTML: they are there with the first picture and need no chart library.

import { html } from "../vendor/preact.js";

/** A horizontal bar for `share` of the width. */
export function Bar({ share, tone }) {
    const width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
    return html`<span class="bar" aria-hidden="true"><span class=${tone ? `fill ${tone}` : "fill"}
        style=${{ width }}></span></span>`;
}

/** Steps of the sequential scale of the style sheet. */
const STEPS = 8;

/** Returns the class of a value on the sequential scale from 0 to `greatest`. */
export function heat(value, greatest) {
    if (!value || !greatest) return "heat heat-0";
    return `heat heat-${Math.max(1, Math.min(STEPS - 1, Math.ceil((value / greatest) * (STEPS - 1))))}`;
}

/** Bars in rows: name, bar, value. Rows with `href` are links. Aligned lists have equal columns. */
export function BarList({ rows, greatest, label, isAligned }) {
    const top = greatest ?? Math.max(...rows.map(({ value }) => value ?? 0), 0);
    const row = ({ name, value, text, note, href, tone, title }) => html`<li title=${title}>
        <span class="bar-name">${href ? html`<a href=${href}>${name}</a>` : name}</span>
        <${Bar} share=${top ? value / top : 0} tone=${tone} />
        <span class="bar-value">${text}${note && html`<small>${note}</small>`}</span></li>`;
    return html`<ul class=${isAligned ? "bar-list is-aligned" : "bar-list"}
        aria-label=${label}>${rows.map(row)}</ul>`;
}

/**
 * A small histogram: columns whose heights are counts.
 * @param {{columns: {count: number, title: string}[], label: string, ends?: [unknown, unknown]}} props
 */
export function Histogram({ columns, label, ends }) {
    const greatest = Math.max(...columns.map(({ count }) => count), 1);
    const column = ({ count, title }) => html`<span class="column" title=${title}>
        <span style=${{ height: `${(count / greatest) * 100}%` }}></span></span>`;
    return html`<div class="histogram" role="img" aria-label=${label}>
        <div class="columns">${columns.map(column)}</div>
        ${ends && html`<div class="ends"><span>${ends[0]}</span><span>${ends[1]}</span></div>`}
    </div>`;
}
