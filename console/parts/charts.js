// Charts: scales and shapes by d3, drawn as SVG. Colors come from the style sheet, so themes need no code.

import { html, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { extent, line, max, scaleBand, scaleLinear, scaleUtc } from "../vendor/d3.js";
import * as format from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Table } from "./table.js";

const MARGIN = { top: 10, right: 14, bottom: 26, left: 52 };

/** Returns a reference to an element and its width, also after the window has changed. */
export function useWidth(initial = 560) {
    const element = useRef(null);
    const [width, setWidth] = useState(initial);
    useLayoutEffect(() => {
        const measure = () => setWidth(element.current?.clientWidth || initial);
        measure();
        const observer = new ResizeObserver(measure);
        observer.observe(element.current);
        return () => observer.disconnect();
    }, []);
    return [element, width];
}

/** A chart with its data as a table for those who prefer or need one. */
function Chart({ label, height, columns, rows, readout, children }) {
    const [element, width] = useWidth();
    return html`<figure class="chart">
        ${readout !== undefined && html`<p class="readout">${readout}</p>`}
        <div ref=${element} style=${{ height: `${height}px` }}>
            <svg role="img" aria-label=${label} width=${width} height=${height}>${children(width)}</svg>
        </div>
        <details class="as-table"><summary>${t("chart.table")}</summary>
            <${Table} label=${label} columns=${columns} rows=${rows} /></details>
    </figure>`;
}

function HorizontalGrid({ scale, width, formatTick, count = 4 }) {
    return scale.ticks(count).map(
        (tick) => html`<g class="tick" transform=${`translate(0,${scale(tick)})`}>
        <line x1=${MARGIN.left} x2=${width - MARGIN.right} />
        <text x=${MARGIN.left - 8} dy="0.32em" text-anchor="end">${formatTick(tick)}</text></g>`,
    );
}

/**
 * Lines over time.
 * @param {object} props
 * @param {{name: string, tone?: string, points: {at: string, value: number | null}[]}[]} props.series
 * @param {(value: number) => string} props.formatValue
 * @param {string} props.label
 */
export function LineChart({
    series,
    formatValue,
    formatTick = format.compact,
    label,
    height = 200,
    zero = true,
    top,
}) {
    const [focus, setFocus] = useState(null);
    const times = [...new Set(series.flatMap(({ points }) => points.map(({ at }) => at)))].sort();
    const dates = times.map((text) => new Date(text));
    const values = series.flatMap(({ points }) =>
        points.map(({ value }) => value).filter((value) => value !== null),
    );
    const [least, greatest] = extent(values.length > 0 ? values : [0, 1]);
    const y = scaleLinear(
        [zero ? Math.min(0, least) : least, top ?? (greatest || 1)],
        [height - MARGIN.bottom, MARGIN.top],
    ).nice(4);
    const valueAt = ({ points }, at) => points.find((point) => point.at === at)?.value ?? null;
    const shown = focus ?? times.at(-1);
    const readout = html`<b>${format.day(shown)}</b>${series.map(
        (one) => html` <span class="key">
        <span class=${`swatch ${one.tone ?? "tone-a"}`} aria-hidden="true"></span>${one.name}
        <b> ${formatValue(valueAt(one, shown))}</b></span>`,
    )}`;
    const columns = [
        { name: "at", title: t("as_of"), head: true, cell: (at) => format.day(at) },
        ...series.map((one) => ({
            name: one.name,
            title: one.name,
            number: true,
            cell: (at) => formatValue(valueAt(one, at)),
        })),
    ];
    return html`<${Chart} label=${label} height=${height} columns=${columns} rows=${times} readout=${readout}>
        ${(width) => {
            const domain =
                dates.length > 1 ? extent(dates) : [new Date(+dates[0] - 864e5), new Date(+dates[0] + 864e5)];
            const x = scaleUtc(domain, [MARGIN.left, width - MARGIN.right]);
            const every = Math.ceil(times.length / Math.max(1, Math.floor((width - 60) / 84)));
            const draw = line(
                ({ at }) => x(new Date(at)),
                ({ value }) => y(value),
            ).defined(({ value }) => value !== null);
            const move = (event) => {
                const left = event.clientX - event.currentTarget.getBoundingClientRect().left + MARGIN.left;
                const distance = (at) => Math.abs(x(new Date(at)) - left);
                setFocus(times.reduce((best, at) => (distance(at) < distance(best) ? at : best), times[0]));
            };
            return html`
                <${HorizontalGrid} scale=${y} width=${width} formatTick=${formatTick} />
                ${times.map(
                    (at, index) =>
                        index % every === 0 &&
                        html`<text class="tick-label" y=${height - 8}
                    x=${x(new Date(at))}
                        text-anchor=${anchor(index, times.length)}>${format.shortDay(at)}</text>`,
                )}
                <line class="focus-rule" x1=${x(new Date(shown))} x2=${x(new Date(shown))} y1=${MARGIN.top}
                    y2=${height - MARGIN.bottom} />
                ${series.map(
                    (one) => html`<g class=${one.tone ?? "tone-a"}>
                    <path class="line" d=${draw(one.points)} />
                    ${one.points.map(
                        ({ at, value }) =>
                            value !== null &&
                            html`<circle cx=${x(new Date(at))}
                        cy=${y(value)} r=${at === shown ? 4 : 2.5} />`,
                    )}</g>`,
                )}
                <rect class="catcher" x=${MARGIN.left} y="0"
                    width=${Math.max(0, width - MARGIN.left - MARGIN.right)}
                    height=${height} onPointerMove=${move} onPointerLeave=${() => setFocus(null)} />`;
        }}<//>`;
}

function anchor(index, length) {
    if (length === 1) return "middle";
    return index === 0 ? "start" : index === length - 1 ? "end" : "middle";
}

/** Width of a character of a label, at most. */
const CHARACTER = 6.5;

/** Columns with a line at `baseline`, such as lift by decile. */
export function ColumnChart({
    rows,
    label,
    formatValue,
    formatTick = (tick) => format.decimal(tick),
    baseline,
    height = 200,
    nameTitle,
    valueTitle,
}) {
    const greatest = Math.max(
        max(rows, ({ value }) => value),
        baseline ?? 0,
    );
    const y = scaleLinear([0, greatest || 1], [height - MARGIN.bottom, 22]).nice(4);
    const longest = max(rows, ({ name }) => name.length * CHARACTER) + 4;
    const columns = [
        { name: "name", title: nameTitle, head: true, cell: ({ name }) => name },
        { name: "value", title: valueTitle, number: true, cell: ({ value }) => formatValue(value) },
    ];
    return html`<${Chart} label=${label} height=${height} columns=${columns} rows=${rows}>
        ${(width) => {
            const x = scaleBand(
                rows.map(({ name }) => name),
                [MARGIN.left, width - MARGIN.right],
            ).padding(0.24);
            const every = Math.ceil(longest / x.step());
            const isLabeled = (index) => (rows.length - 1 - index) % every === 0;
            return html`<${HorizontalGrid} scale=${y} width=${width} formatTick=${formatTick} />
                ${rows.map(
                    ({ name, value }, index) => html`<g class="tone-a">
                    <rect class="mark" x=${x(name)} y=${y(value)} width=${x.bandwidth()}
                        height=${y(0) - y(value)}><title>${name}: ${formatValue(value)}</title></rect>
                    ${
                        value > 0 &&
                        formatValue(value).length * CHARACTER <= x.step() &&
                        html`<text class="mark-label" x=${x(name) + x.bandwidth() / 2}
                        y=${y(value) - 5} text-anchor="middle">${formatValue(value)}</text>`
                    }</g>
                    ${
                        isLabeled(index) &&
                        html`<text class="tick-label" x=${x(name) + x.bandwidth() / 2} y=${height - 8}
                        text-anchor="middle">${name}</text>`
                    }`,
                )}
                ${
                    baseline &&
                    html`<line class="baseline" x1=${MARGIN.left} x2=${width - MARGIN.right}
                    y1=${y(baseline)} y2=${y(baseline)} />`
                }`;
        }}<//>`;
}

/** Predicted against observed shares: points on the diagonal are right. */
export function CalibrationChart({ bins, label, height = 240 }) {
    const greatest = max(bins, ({ customers }) => customers);
    const y = scaleLinear([0, 1], [height - MARGIN.bottom - 14, MARGIN.top]);
    const columns = [
        {
            name: "foretold",
            title: t("model.predicted"),
            head: true,
            cell: ({ foretold }) => format.percent(foretold),
        },
        { name: "seen", title: t("model.observed"), number: true, cell: ({ seen }) => format.percent(seen) },
        {
            name: "customers",
            title: t("customers"),
            number: true,
            cell: ({ customers }) => format.count(customers),
        },
    ];
    return html`<${Chart} label=${label} height=${height} columns=${columns} rows=${bins}>
        ${(width) => {
            const x = scaleLinear(
                [0, 1],
                [MARGIN.left, Math.min(width - MARGIN.right, MARGIN.left + height * 1.6)],
            );
            const percentTick = (tick) => format.percent(tick, 0);
            return html`<${HorizontalGrid} scale=${y} width=${x(1) + MARGIN.right} formatTick=${percentTick}
                />
                ${x.ticks(4).map(
                    (tick) => html`<text class="tick-label" x=${x(tick)} y=${height - 22}
                    text-anchor="middle">${percentTick(tick)}</text>`,
                )}
                <text class="tick-label" x=${x(0.5)} y=${height - 5}
                    text-anchor="middle">${t("model.axes")}</text>
                <line class="baseline" x1=${x(0)} y1=${y(0)} x2=${x(1)} y2=${y(1)} />
                <g class="tone-a">
                    <path class="line faint" d=${line(
                        ({ foretold }) => x(foretold),
                        ({ seen }) => y(seen),
                    )(bins)} />
                    ${bins.map(
                        ({ foretold, seen, customers }) => html`<circle cx=${x(foretold)} cy=${y(seen)}
                        r=${2 + 3 * Math.sqrt(customers / greatest)}>
                        <title>${format.percent(foretold)} → ${format.percent(seen)}</title></circle>`,
                    )}</g>`;
        }}<//>`;
}

/** Points in rows on one scale, such as the AUC of each candidate by cut. */
export function DotChart({ rows, label, formatValue, domain, reference, nameTitle }) {
    const rowHeight = 26;
    const height = rows.length * rowHeight + 34;
    const left = 124;
    const names = rows[0]?.dots.map(({ name }) => name) ?? [];
    const columns = [
        { name: "name", title: nameTitle, head: true, cell: ({ name }) => name },
        ...names.map((name, index) => ({
            name,
            title: name,
            number: true,
            cell: ({ dots }) => formatValue(dots[index]?.value ?? null),
        })),
    ];
    return html`<${Chart} label=${label} height=${height} columns=${columns} rows=${rows}>
        ${(width) => {
            const x = scaleLinear(domain, [left, width - 24]).nice(5);
            return html`${x.ticks(5).map(
                (tick) => html`<g class="tick">
                    <line x1=${x(tick)} x2=${x(tick)} y1="4" y2=${height - 24} />
                    <text class="tick-label" x=${x(tick)} y=${height - 8} text-anchor="middle">
                        ${format.decimal(tick)}</text></g>`,
            )}
                ${
                    reference !== undefined &&
                    html`<line class="baseline" x1=${x(reference)} x2=${x(reference)} y1="4"
                    y2=${height - 24} />`
                }
                ${rows.map(({ name, dots, isChosen }, index) => {
                    const y = index * rowHeight + 18;
                    const [least, greatest] = extent(dots, ({ value }) => value);
                    return html`<g class=${isChosen ? "tone-a" : "tone-muted"}>
                        <text class=${isChosen ? "row-label is-chosen" : "row-label"} x=${left - 14} y=${y}
                            dy="0.32em" text-anchor="end">${name}</text>
                        <line class="range" x1=${x(least)} x2=${x(greatest)} y1=${y} y2=${y} />
                        ${dots.map(
                            (
                                dot,
                            ) => html`<circle class=${dot.isHollow ? "hollow" : undefined} cx=${x(dot.value)}
                            cy=${y} r="4.5"><title>${dot.name}: ${formatValue(dot.value)}</title></circle>`,
                        )}</g>`;
                })}`;
        }}<//>`;
}
