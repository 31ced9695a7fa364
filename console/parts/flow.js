// The flow of customers between the segments of two snapshots.

import { html, useState } from "../vendor/preact.js";
import { sankey, sankeyLinkHorizontal } from "../vendor/d3.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { direction } from "../lib/segments.js";
import { useWidth } from "./charts.js";

const NODE_WIDTH = 10;
/** Below this width there is no room for counts beside the names. */
const NARROW = 560;
/** Flows of less than this share of all customers are in the matrix only. */
const LEAST_SHARE = 0.0005;

/**
 * @param {object} props
 * @param {{from: string, to: string, customers: number}[]} props.moves
 * @param {(name: string) => string} props.nameOf
 * @param {string[]} props.order Names, best first.
 * @param {string} props.label
 */
export function Flow({ moves, nameOf, order, label }) {
    const [element, width] = useWidth(900);
    const [focus, setFocus] = useState(null);
    const total = moves.reduce((sum, { customers }) => sum + customers, 0);
    const shown = moves.filter(({ customers }) => customers > total * LEAST_SHARE);
    const place = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
    const sides = { from: names(shown, "from", place), to: names(shown, "to", place) };
    const height = Math.max(280, Math.max(sides.from.length, sides.to.length) * 42);
    const isNarrow = width < NARROW;
    const side = isNarrow ? 112 : 150;
    const graph = sankey()
        .nodeId(({ id }) => id)
        .nodeWidth(NODE_WIDTH)
        .nodePadding(12)
        .iterations(0)
        .nodeSort((a, b) => place(a.name) - place(b.name))
        .linkSort(
            (a, b) =>
                place(a.target.name) - place(b.target.name) || place(a.source.name) - place(b.source.name),
        )
        .extent([
            [side, 6],
            [width - side, height - 6],
        ])({
        nodes: ["from", "to"].flatMap((end) =>
            sides[end].map((name) => ({ id: `${end} ${name}`, name, end })),
        ),
        links: shown.map((move) => ({
            source: `from ${move.from}`,
            target: `to ${move.to}`,
            value: move.customers,
            ...move,
        })),
    });
    const isFocused = (link) => !focus || link.source.id === focus || link.target.id === focus;
    const path = sankeyLinkHorizontal();
    const node = (one) => {
        const isLeft = one.end === "from";
        const text = `${nameOf(one.name)} ${format.count(one.value)}`;
        return html`<g class="node" tabindex="0" role="listitem" aria-label=${text}
            onPointerEnter=${() => setFocus(one.id)}
            onFocus=${() => setFocus(one.id)} onBlur=${() => setFocus(null)}>
            <rect x=${one.x0} y=${one.y0} width=${NODE_WIDTH} height=${Math.max(1, one.y1 - one.y0)} />
            <text x=${isLeft ? one.x0 - 6 : one.x1 + 6} y=${(one.y0 + one.y1) / 2} dy="0.32em"
                text-anchor=${isLeft ? "end" : "start"}>${nameOf(one.name)}
                ${
                    !isNarrow &&
                    html`<tspan class="muted"
                    dx="4">${format.compact(one.value)}</tspan>`
                }</text></g>`;
    };
    return html`<figure class="chart flow">
        <p class="readout">
            <span class="key"><span class="swatch tone-a"></span>${t("flow.better")}</span>
            <span class="key"><span class="swatch tone-bad"></span>${t("flow.worse")}</span>
            <span class="key"><span class="swatch tone-muted"></span>${t("flow.same")}</span>
        </p>
        <div ref=${element} style=${{ minHeight: `${height}px` }}>
            <svg role="list" aria-label=${label} width=${width} height=${height}
                onPointerLeave=${() => setFocus(null)}>
                ${graph.links.map(
                    (
                        link,
                    ) => html`<path role="listitem" d=${path(link)} stroke-width=${Math.max(1, link.width)}
                    aria-label=${linkText(link, nameOf)}
                        class=${`link ${tone(link)} ${isFocused(link) ? "" : "is-dim"}`}>
                    <title>${linkText(link, nameOf)}</title></path>`,
                )}
                ${graph.nodes.map(node)}
            </svg></div></figure>`;
}

function names(moves, end, place) {
    return [...new Set(moves.map((move) => move[end]))].sort((a, b) => place(a) - place(b));
}

function linkText({ from, to, customers }, nameOf) {
    return `${nameOf(from)} → ${nameOf(to)}: ${format.count(customers)}`;
}

function tone({ from, to }) {
    return { better: "tone-a", worse: "tone-bad", same: "tone-muted" }[direction(from, to)];
}
