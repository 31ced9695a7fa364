// The visual builder of audiences: groups of conditions, each a feature, a comparison and values, or what
// customers bought and did.

import { html } from "../vendor/preact.js";
import { SUBJECTS, condition, event, group } from "../lib/expression.js";
import { t, tOr } from "../lib/i18n.js";
import { segmentName } from "../lib/segments.js";
import { elementKindOf, kindOf } from "../lib/views.js";
import { EventFields } from "./event-fields.js";
import { Icon } from "./icons.js";
import { Switch } from "./panel.js";
import { featureTitle } from "./members.js";
import { Suggesting } from "./suggesting.js";

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
    const isEvent = part.kind === "event";
    const name = isEvent ? part.name : part.feature;
    const isKnown = isEvent || name === "segment" || features.some((one) => one.name === name);
    const classes = ["condition", isEvent && "is-event", !isKnown && "is-wrong"].filter(Boolean).join(" ");
    const choose = (next) => {
        if (Object.hasOwn(SUBJECTS, next)) return onChange(event(next));
        const [first] = operatorsOf(kindInBuilder(next, features));
        return onChange(compared(next, first, [{ text: "", quoted: false }]));
    };
    return html`<div class=${classes}>
        <${FeatureChoice} name=${name} isKnown=${isKnown} features=${features} onChoose=${choose} />
        ${
            isEvent
                ? html`<${EventFields} part=${part} onChange=${onChange} features=${features} />`
                : html`<${Comparison} part=${part} onChange=${onChange} features=${features}
                    segments=${segments} />`
        }
        <${Remove} label=${t("builder.remove")} onClick=${onRemove} />
    </div>`;
}

/** The choice of what a condition is about: the segments, what customers bought or did, or a feature. */
function FeatureChoice({ name, isKnown, features, onChoose }) {
    const views = [...new Set(features.map(({ view }) => view))];
    const option = (value, title) =>
        html`<option value=${value} selected=${value === name}>${title}</option>`;
    const inView = (view) => features.filter((one) => one.view === view && canBeCompared(one));
    return html`<select aria-label=${t("builder.feature")} value=${name}
            onChange=${({ currentTarget }) => onChoose(currentTarget.value)}>
            ${option("segment", t("segment"))}
            ${Object.keys(SUBJECTS).map((event) => option(event, t(`builder.${event}`)))}
            ${!isKnown && option(name, name)}
            ${views.map(
                (view) => html`<optgroup label=${view}>
                ${inView(view).map((one) => option(one.name, featureTitle(one.name)))}</optgroup>`,
            )}
        </select>`;
}

/** The comparison of a feature with values. */
function Comparison({ part, onChange, features, segments }) {
    const { feature, values } = part;
    const operator = comparisonOf(part);
    const kind = kindInBuilder(feature, features);
    const operators = operatorsOf(kind);
    const shown = operators.includes(operator) ? operators : [...operators, operator];
    const compare = (next) => onChange(compared(feature, next, values));
    return html`<select aria-label=${t("builder.operator")} value=${operator}
            onChange=${({ currentTarget }) => compare(currentTarget.value)}>
            ${shown.map(
                (sign) => html`<option value=${sign}
                selected=${sign === operator}>${tOr(`operator.${sign}`, sign)}</option>`,
            )}
        </select>
        ${
            !operator.endsWith("null") &&
            html`<${Values} kind=${kind} feature=${feature} operator=${operator} values=${values}
            element=${elementKindOf(typeOf(feature, features))} segments=${segments}
            onChange=${(next) => onChange(condition(feature, part.operator, next))} />`
        }`;
}

const typeOf = (feature, features) => features.find(({ name }) => name === feature)?.type;

const operatorsOf = (kind) => OPERATORS[kind] ?? OPERATORS.text;

/** Whether the builder has comparisons for a feature. */
const canBeCompared = ({ type }) => elementKindOf(type) !== null || kindOf(type) !== "other";

/** Returns the kind of a feature in the builder: `list` for lists whose elements can be searched. */
function kindInBuilder(feature, features) {
    if (feature === "segment") return "segment";
    const type = typeOf(feature, features);
    if (type === undefined) return "unknown";
    return elementKindOf(type) ? "list" : kindOf(type);
}

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
    const isText = kind === "text" && feature.includes(".");
    return html`<${Suggesting} type=${type} label=${label} text=${text} onInput=${set}
        feature=${isText && feature} values=${kind === "segment" ? segments : undefined}
        placeholder=${isList ? t("builder.list") : ""} />`;
}
