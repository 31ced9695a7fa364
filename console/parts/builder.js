// The visual builder of audiences: groups of conditions, each a feature, a comparison and values.

import { html, useId } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import { condition, group } from "../lib/expression.js";
import { t, tOr } from "../lib/i18n.js";
import { segmentName } from "../lib/segments.js";
import { EVERYBODY, elementKindOf, kindOf } from "../lib/views.js";
import { Icon } from "./icons.js";
import { Switch } from "./panel.js";
import { featureTitle } from "./members.js";

/** Comparisons by the kind of a feature. */
const OPERATORS = {
    segment: ["=", "!=", "in", "not in"],
    text: [
        "=",
        "!=",
        "in",
        "not in",
        "contains",
        "not contains",
        "starts with",
        "ends with",
        "is null",
        "is not null",
    ],
    list: ["has", "not has", "is null", "is not null"],
    boolean: ["=", "!=", "is null", "is not null"],
    number: ["=", "!=", ">=", "<=", ">", "<", "between", "in", "not in", "is null", "is not null"],
    time: ["last", "before", ">=", "<=", ">", "<", "between", "=", "!=", "is null", "is not null"],
};
/** Comparisons with a number of days before the as-of time, which expressions write as `>= -30d`. */
const DAYS_AGO = { last: ">=", before: "<" };
const DAYS = /^-(\d+)d$/;
const SUGGESTED_VALUES = 100;

/**
 * @param {object} props
 * @param {import("../lib/expression.js").Group} props.tree
 * @param {(tree: import("../lib/expression.js").Group) => void} props.onChange
 * @param {import("../lib/views.js").Feature[]} props.features
 * @param {string[]} props.segments
 */
export function Builder({ tree, onChange, features, segments }) {
    return html`<div class="builder"><${Group} part=${tree} onChange=${onChange}
        features=${features} segments=${segments} /></div>`;
}

function Group({ part, onChange, onRemove, features, segments }) {
    const change = (changes) => onChange({ ...part, ...changes });
    const replace = (index, next) => {
        const parts =
            next === null
                ? part.parts.filter((_, at) => at !== index)
                : part.parts.map((old, at) => (at === index ? next : old));
        change({ parts });
    };
    const child = (inner, index) => {
        const props = {
            key: index,
            part: inner,
            features,
            segments,
            onChange: (next) => replace(index, next),
            onRemove: () => replace(index, null),
        };
        return inner.kind === "group"
            ? html`<${Group} ...${props} />`
            : html`<${ConditionRow} ...${props} />`;
    };
    const add = (inner) => change({ parts: [...part.parts, inner] });
    return html`<div class="group" role="group" aria-label=${t("builder.group")}>
        <div class="group-head">
            <${Switch} label=${t("builder.join")} value=${part.join} onChange=${(join) => change({ join })}
                options=${[
                    ["and", t("builder.all")],
                    ["or", t("builder.any")],
                ]} />
            <label class="field inline"><input type="checkbox" checked=${part.not}
                onChange=${() => change({ not: !part.not })} />${t("builder.not")}</label>
            ${onRemove && html`<${Remove} label=${t("builder.remove_group")} onClick=${onRemove} />`}
        </div>
        ${part.parts.map(child)}
        <div class="group-head">
            <button type="button"
                onClick=${() => add(condition("segment", "=", [{ text: "", quoted: false }]))}>
                ${t("builder.add")}</button>
            <button type="button" onClick=${() =>
                add(
                    group(part.join === "and" ? "or" : "and", [
                        condition("segment", "=", [{ text: "", quoted: false }]),
                    ]),
                )}>${t("builder.add_group")}</button>
        </div></div>`;
}

function Remove({ label, onClick }) {
    return html`<button type="button" class="icon-button" aria-label=${label} title=${label}
        onClick=${onClick}>
        <${Icon} name="close" /></button>`;
}

function ConditionRow({ part, onChange, onRemove, features, segments }) {
    const { feature, values } = part;
    const operator = comparisonOf(part);
    const known = features.find(({ name }) => name === feature);
    const kind = feature === "segment" ? "segment" : known ? kindInBuilder(known.type) : "unknown";
    const operators = OPERATORS[kind] ?? OPERATORS.text;
    const shown = operators.includes(operator) ? operators : [...operators, operator];
    const choose = (name) => {
        const next = features.find((one) => one.name === name);
        const ofKind = name === "segment" ? "segment" : kindInBuilder(next?.type);
        const [first] = OPERATORS[ofKind] ?? OPERATORS.text;
        onChange(compared(name, first, [{ text: "", quoted: false }]));
    };
    const compare = (next) => onChange(compared(feature, next, values));
    const views = [...new Set(features.map(({ view }) => view))];
    const option = ({ name, type }) =>
        kindInBuilder(type) !== "other" &&
        html`<option value=${name} selected=${name === feature}>${featureTitle(name)}</option>`;
    const isUnknown = feature !== "segment" && !known;
    return html`<div class=${isUnknown ? "condition is-wrong" : "condition"}>
        <select aria-label=${t("builder.feature")} value=${feature}
            onChange=${(event) => choose(event.currentTarget.value)}>
            <option value="segment" selected=${feature === "segment"}>${t("segment")}</option>
            ${isUnknown && html`<option value=${feature} selected>${feature}</option>`}
            ${views.map(
                (view) => html`<optgroup label=${view}>
                ${features.filter((one) => one.view === view).map(option)}</optgroup>`,
            )}
        </select>
        <select aria-label=${t("builder.operator")} value=${operator}
            onChange=${(event) => compare(event.currentTarget.value)}>
            ${shown.map(
                (sign) => html`<option value=${sign}
                selected=${sign === operator}>${tOr(`operator.${sign}`, sign)}</option>`,
            )}
        </select>
        ${
            !operator.endsWith("null") &&
            html`<${Values} kind=${kind} feature=${feature} operator=${operator} values=${values}
            element=${elementKindOf(known?.type)} segments=${segments}
            onChange=${(next) => onChange(condition(feature, part.operator, next))} />`
        }
        <${Remove} label=${t("builder.remove")} onClick=${onRemove} />
    </div>`;
}

/** Returns the kind of a feature in the builder: `list` for lists whose elements can be searched. */
const kindInBuilder = (type) => (elementKindOf(type) ? "list" : kindOf(type));

/** Returns the comparison of a condition as the builder names it. */
function comparisonOf({ operator, values }) {
    const ofDays = Object.keys(DAYS_AGO).find((name) => DAYS_AGO[name] === operator);
    return ofDays && DAYS.test(values[0]?.text ?? "") ? ofDays : operator;
}

/** Returns a condition with a comparison as the builder names it, and with values that fit. */
function compared(feature, comparison, values) {
    if (comparison.endsWith("null")) return condition(feature, comparison, []);
    const ofDays = DAYS_AGO[comparison];
    const isDays = values.some(({ text }) => DAYS.test(text));
    if (ofDays && !isDays) return condition(feature, ofDays, [{ text: "-30d", quoted: false }]);
    const kept = !ofDays && isDays ? [{ text: "", quoted: false }] : values;
    if (comparison.endsWith("between")) {
        return condition(feature, comparison, [kept[0], kept[1] ?? { text: "", quoted: false }]);
    }
    return condition(feature, ofDays ?? comparison, comparison.endsWith("in") ? kept : kept.slice(0, 1));
}

function Values({ kind, element, feature, operator, values, segments, onChange }) {
    const isList = operator.endsWith("in");
    const label = t("builder.value");
    if (operator.endsWith("between")) {
        const at = (index, [next]) => onChange(values.map((old, place) => (place === index ? next : old)));
        const bound = (index) => html`<${Values} key=${index} kind=${kind} feature=${feature} operator="="
            values=${values.slice(index, index + 1)} segments=${segments}
            onChange=${(next) => at(index, next)} />`;
        return html`<div class="value bounds">${[0, 1].map(bound)}</div>`;
    }
    const text = values.map((value) => value.text).join(", ");
    if (operator in DAYS_AGO) {
        const days = DAYS.exec(text)?.[1] ?? "";
        return html`<input class="value" type="number" min="0" step="1" aria-label=${t("builder.days")}
            value=${days}
            onInput=${({ currentTarget }) =>
                onChange([{ text: `-${Number(currentTarget.value) || 0}d`, quoted: false }])} />`;
    }
    const quoted = kind === "text" || element === "text";
    const set = (entered) => {
        const parts = isList ? entered.split(",").map((part) => part.trim()) : [entered.trim()];
        onChange(parts.map((part) => ({ text: part, quoted: quoted && part !== "" })));
    };
    if (kind === "segment" && !isList) {
        const unknown = text && !segments.includes(text) ? [text] : [];
        return html`<select class="value" aria-label=${label} value=${text}
            onChange=${(event) => set(event.currentTarget.value)}>
            <option value="" selected=${!text}>…</option>
            ${[...segments, ...unknown].map(
                (name) => html`<option value=${name} selected=${name === text}>
                ${segmentName(name)}</option>`,
            )}</select>`;
    }
    if (kind === "boolean") {
        return html`<select class="value" aria-label=${label} value=${text}
            onChange=${(event) => set(event.currentTarget.value)}>
            <option value="" selected=${!text}>…</option>${["true", "false"].map(
                (name) => html`<option value=${name} selected=${name === text}>${t(name)}</option>`,
            )}</select>`;
    }
    if (kind === "time" && /^\d{4}-\d{2}-\d{2}$|^$/.test(text)) {
        return html`<input class="value" type="date" aria-label=${label} value=${text}
            onInput=${(event) => set(event.currentTarget.value)} />`;
    }
    const type = kind === "number" && !isList ? "number" : "text";
    return html`<${Suggesting} kind=${kind} feature=${feature} type=${type} label=${label}
        text=${text} onInput=${set}
        segments=${segments} placeholder=${isList ? t("builder.list") : ""} />`;
}

/** A field that suggests the values that customers have. */
function Suggesting({ kind, feature, type, label, text, onInput, segments, placeholder }) {
    const id = useId();
    const isText = kind === "text" && feature.includes(".");
    const { data } = useApi(isText ? suggestions(feature) : null);
    const values = kind === "segment" ? segments : (data?.breakdown?.values?.map(({ value }) => value) ?? []);
    return html`<input class="value" type=${type} step="any" aria-label=${label} value=${text}
        placeholder=${placeholder}
            list=${values.length > 0 ? id : undefined} autocomplete="off" spellcheck="false"
            onInput=${(event) => onInput(event.currentTarget.value)} />
        ${
            values.length > 0 &&
            html`<datalist id=${id}>${values.map(
                (value) => html`<option value=${value}
            />`,
            )}</datalist>`
        }`;
}

function suggestions(feature) {
    return {
        path: "/v1/audiences",
        body: { where: EVERYBODY, limit: 0, breakdown: { feature, top: SUGGESTED_VALUES } },
    };
}
