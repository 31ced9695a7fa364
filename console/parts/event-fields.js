// The fields of a condition on what customers bought or did: of what, within which period, and how often.

import { html } from "../vendor/preact.js";
import { SUBJECTS } from "../lib/expression.js";
import { t, tOr } from "../lib/i18n.js";
import { Suggesting } from "./suggesting.js";

const TIMES_OPERATORS = [">=", "=", "<=", ">", "<", "!="];
/** Features whose values are suggested for a subject. Products and events are too many or unknown. */
const SUGGESTED = { category: "behavior.favourite_category" };
const DAYS = /^-(\d+)d$/;
const DATE = /^\d{4}-\d{2}-\d{2}$|^$/;

/**
 * @param {object} props
 * @param {import("../lib/expression.js").EventCondition} props.part
 * @param {(part: import("../lib/expression.js").EventCondition) => void} props.onChange
 * @param {import("../lib/views.js").Feature[]} props.features
 */
export function EventFields({ part, onChange, features }) {
    const { name, not, subject, value, times } = part;
    const change = (changes) => onChange({ ...part, ...changes });
    const suggested = features.find((one) => one.name === SUGGESTED[subject])?.name;
    const subjectField = html`<${Suggesting} label=${t(`builder.${subject}_name`)} text=${value}
        feature=${suggested} placeholder=${name === "did" ? t("builder.event_name") : ""}
        onInput=${(text) => change({ value: text })} />`;
    const subjects = ["", ...SUBJECTS.bought].map((one) => [one, t(`builder.of_${one || "anything"}`)]);
    return html`<${Choice} label=${t("builder.whether")} value=${not ? "no" : "yes"}
            options=${["yes", "no"].map((one) => [one, t(`builder.is_${one}`)])}
            onChoose=${(next) => change({ not: next === "no" })} />
        ${
            name === "did"
                ? subjectField
                : html`<${Choice} label=${t("builder.what")} value=${subject ?? ""} isValue
                    options=${subjects}
                    onChoose=${(next) => change({ subject: next || null, value: "" })} />`
        }
        <div class="event-details">
            ${
                name === "bought" &&
                subject &&
                html`<label class="field inline"><span>${t(`builder.${subject}_name`)}</span>
                    ${subjectField}</label>`
            }
            ${["since", "before"].map(
                (end) => html`<${PeriodEnd} key=${end} end=${end} value=${part[end]}
                onChange=${(next) => change({ [end]: next })} />`,
            )}
            <span class="field inline" role="group" aria-label=${t("builder.times")}>
                <span aria-hidden="true">${t("builder.times")}</span>
                <${Choice} label=${t("builder.operator")} value=${times.operator}
                    options=${TIMES_OPERATORS.map((sign) => [sign, tOr(`operator.${sign}`, sign)])}
                    onChoose=${(operator) => change({ times: { ...times, operator } })} />
                <input type="number" min="0" step="1" aria-label=${t("builder.times")} value=${times.number}
                    onInput=${({ currentTarget }) =>
                        change({ times: { ...times, number: digits(currentTarget.value) } })} />
            </span>
            <p class="note">${t(`builder.${name}_help`)}</p>
        </div>`;
}

const digits = (text) => text.replace(/\D/g, "");

const unquoted = (text) => ({ text, quoted: false });

/** One end of a period: open, a number of days before the as-of time, a day, or another time as text. */
function PeriodEnd({ end, value, onChange }) {
    const form = formOf(value);
    const label = t(`builder.${end}`);
    const titles = {
        open: t(`builder.${end}_open`),
        days: t("builder.days_ago"),
        day: t("builder.on_day"),
        time: t("builder.at_time"),
    };
    const first = { open: null, days: unquoted("-30d"), day: unquoted("") };
    const forms = [...Object.keys(first), ...(form === "time" ? ["time"] : [])];
    const text = value?.text ?? "";
    const field = {
        open: null,
        days: html`<input type="number" min="0" step="1" aria-label=${t("builder.days")}
            value=${DAYS.exec(text)?.[1]}
            onInput=${({ currentTarget }) =>
                onChange(unquoted(`-${Number(digits(currentTarget.value))}d`))} />`,
        day: html`<input type="date" aria-label=${t("builder.on_day")} value=${text}
            onInput=${({ currentTarget }) => onChange(unquoted(currentTarget.value))} />`,
        time: html`<input type="text" aria-label=${t("builder.at_time")} value=${text} spellcheck="false"
            onInput=${({ currentTarget }) => onChange({ ...value, text: currentTarget.value.trim() })} />`,
    }[form];
    return html`<span class="field inline" role="group" aria-label=${label}>
        <span aria-hidden="true">${label}</span>
        <${Choice} label=${label} value=${form} onChoose=${(next) => onChange(first[next])}
            options=${forms.map((one) => [one, titles[one]])} />
        ${field}</span>`;
}

function formOf(value) {
    if (value === null) return "open";
    if (DAYS.test(value.text)) return "days";
    return DATE.test(value.text) ? "day" : "time";
}

function Choice({ label, value, options, onChoose, isValue }) {
    return html`<select class=${isValue ? "value" : undefined} aria-label=${label} value=${value}
        onChange=${({ currentTarget }) => onChoose(currentTarget.value)}>
        ${options.map(
            ([name, text]) => html`<option value=${name} selected=${name === value}>${text}</option>`,
        )}</select>`;
}
