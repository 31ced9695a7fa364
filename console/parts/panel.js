// Panels: a title, the data behind it as a command and as documentation, and the states of a request.

import { html, useId, useState } from "../vendor/preact.js";
import { curl, target } from "../lib/api.js";
import { tOr, t } from "../lib/i18n.js";
import { Icon } from "./icons.js";

/** Width up to which a screen is narrow, as in the style sheet. */
const NARROW = 620;
/** The console works where the documentation is switched off; the page then says so. */
const HAS_DOCS = document.documentElement.dataset.docs !== "false";

/**
 * A section of a page.
 * @param {object} props
 * @param {string} props.title
 * @param {string} [props.note] A sentence below the title.
 * @param {object} [props.state] The value of `useApi`: its request is offered as a command.
 * @param {import("../lib/api.js").ApiRequest | import("../lib/api.js").ApiRequest[]} [props.request]
 * @param {string} [props.docs] `tag/operation` of the documentation.
 * @param {unknown} [props.tools] Controls beside the title.
 * @param {number | [number, number]} [props.height] Height that is reserved while data load, so that nothing
 *     jumps; two of them are for a narrow and a wide screen.
 * @param {boolean} [props.wide] Whether the panel takes the whole width, or a `third`.
 * @param {(data: any) => unknown} props.children
 */
export function Panel({ title, note, state, request, docs, tools, height, wide, third, children }) {
    const id = useId();
    const reserved = Array.isArray(height) ? height[Number(window.innerWidth > NARROW)] : height;
    const requests = [request ?? state?.request ?? []].flat();
    const classes = ["panel", wide && "wide", third && "third"].filter(Boolean).join(" ");
    return html`<section class=${classes} aria-labelledby=${id}
        aria-busy=${state?.loading ? "true" : "false"}>
        <header class="panel-head">
            <h2 id=${id}>${title}</h2>
            ${tools && html`<div class="panel-tools">${tools}</div>`}
            <div class="panel-links">
                ${requests.length > 0 && html`<${CopyCurl} requests=${requests} title=${title} />`}
                ${
                    docs &&
                    HAS_DOCS &&
                    html`<a class="icon-button" href=${`/docs/#/${encodeURI(docs)}`} target="_blank"
                    rel="noopener" title=${t("panel.docs")} aria-label=${`${t("panel.docs")}: ${title}`}>
                    <${Icon} name="book" /></a>`
                }
            </div>
        </header>
        ${note && html`<p class="note">${note}</p>`}
        ${isWithheld(state?.data) && html`<p class="note">${t("withheld")}</p>`}
        <div class="panel-body" style=${reserved ? { minHeight: `${reserved}px` } : undefined}>
            <${Body} state=${state} height=${reserved}>${children}<//>
        </div>
    </section>`;
}

/** Whether an answer lacks numbers because they are about few customers. */
function isWithheld(data) {
    return [data ?? []].flat().some((answer) => answer.min_count !== undefined);
}

function Body({ state, height, children }) {
    const content = (data) => (typeof children === "function" ? children(data) : children);
    if (!state) return content();
    if (state.error) return html`<${Problem} error=${state.error} retry=${state.reload} />`;
    if (!state.data) return html`<${Skeleton} height=${height} />`;
    return html`<div class=${state.loading ? "is-stale" : undefined}>${content(state.data)}</div>`;
}

/** The place of data that are on their way. */
export function Skeleton({ height = 80 }) {
    return html`<div class="skeleton" style=${{ height: `${height}px` }}><span
        class="hidden">${t("loading")}</span></div>`;
}

/** What went wrong and what the reader can do about it. */
export function Problem({ error, retry }) {
    const { status, kind, retryAfter } = error;
    const advice = tOr(`advice.${kind}`, status >= 500 || status === 0 ? t("advice.retry") : null, {
        seconds: retryAfter ?? 1,
    });
    const isOwn = ["unreachable", "interrupted"].includes(kind);
    return html`<div class="problem" role="status">
        <p class="problem-title">${tOr(`problem.${kind}`, error.title || t("problem.unknown"))}</p>
        ${!isOwn && html`<p>${error.message}</p>`}
        ${advice && html`<p class="muted">${advice}</p>`}
        ${
            retry &&
            status !== 401 &&
            status !== 403 &&
            status !== 404 &&
            html`<button type="button" onClick=${retry}>${t("retry")}</button>`
        }
    </div>`;
}

/** Says that there is nothing, and what to do. */
export function Empty({ title, children }) {
    return html`<div class="empty"><p
        class="problem-title">${title}</p>${children && html`<p>${children}</p>`}</div>`;
}

function CopyCurl({ requests, title }) {
    const [copied, setCopied] = useState(false);
    const copy = async () => {
        await copyText(requests.map(curl).join("\n\n"));
        setCopied(true);
        setTimeout(() => setCopied(false), 1600);
    };
    const label = copied ? t("panel.copied") : t("panel.curl");
    return html`<button type="button" class=${copied ? "icon-button is-done" : "icon-button"} onClick=${copy}
        title=${`${label}: ${target(requests[0])}`} aria-label=${`${label}: ${title}`}>
        <${Icon} name=${copied ? "check" : "terminal"} /></button>`;
}

/** Copies a text; pages without a secure connection have only the old way. */
export async function copyText(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
}

/** A choice of few values as buttons in a row. */
export function Switch({ label, value, options, onChange }) {
    const button = ([
        name,
        text,
    ]) => html`<button type="button" aria-pressed=${name === value ? "true" : "false"}
        onClick=${() => onChange(name)}>${text}</button>`;
    return html`<div class="switch" role="group" aria-label=${label}>${options.map(button)}</div>`;
}

/** A choice of many values. */
export function Select({ label, value, options, onChange, hideLabel }) {
    return html`<label class="field"><span class=${hideLabel ? "hidden" : undefined}>${label}</span>
        <select value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
            ${options.map(
                ([name, text]) => html`<option value=${name}
                selected=${name === value}>${text}</option>`,
            )}
        </select></label>`;
}

/** A figure with its name. */
export function Figure({ name, value, note }) {
    return html`<div
        class="figure"><dt>${name}</dt><dd>${value}${note && html`<small>${note}</small>`}</dd></div>`;
}
