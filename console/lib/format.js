// Numbers and times as the reader's locale writes them. Times are in UTC, as in the API.

import { language, locale } from "./i18n.js";

/** Shown for absent values. */
export const NONE = "–";

const formats = new Map();
language.subscribe(() => formats.clear());

function format(kind, options) {
    const name = `${kind} ${JSON.stringify(options)}`;
    if (!formats.has(name)) formats.set(name, new Intl[kind](locale(), options));
    return formats.get(name);
}

function number(value, options) {
    return value === null || value === undefined ? NONE : format("NumberFormat", options).format(value);
}

/** Formats a count. */
export const count = (value) => number(value, { maximumFractionDigits: 0 });

/** Formats a count or an amount of money in few characters, such as 1.2M. */
export const compact = (value) => number(value, { notation: "compact", maximumSignificantDigits: 3 });

/** Formats a number in few characters, years and other small ones in full. */
export const brief = (value) =>
    Math.abs(value) < 10_000
        ? number(value, { maximumSignificantDigits: 4, useGrouping: false })
        : compact(value);

/** Formats money. The currency is that of the raw data, which no answer names. */
export const money = (value) => number(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** Formats money without the fraction. */
export const wholeMoney = (value) => number(value, { maximumFractionDigits: 0 });

/** Formats a share of 1. */
export const percent = (value, digits = 1) =>
    number(value, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Formats a number with at most `digits` after the point. */
export const decimal = (value, digits = 2) => number(value, { maximumFractionDigits: digits });

/** Formats a number with exactly `digits` after the point. */
export const fixed = (value, digits = 2) =>
    number(value, { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Formats a count with its sign. */
export const signed = (value) => number(value, { signDisplay: "exceptZero", maximumFractionDigits: 0 });

/** Formats an amount in few characters with its sign. */
export const signedCompact = (value) =>
    number(value, { notation: "compact", maximumSignificantDigits: 3, signDisplay: "exceptZero" });

/** Formats a number of bytes. */
export function bytes(value) {
    const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
    const power = Math.min(units.length - 1, value > 0 ? Math.floor(Math.log10(value) / 3) : 0);
    return number(value / 1000 ** power, { style: "unit", unit: units[power], maximumSignificantDigits: 3 });
}

/** Formats seconds. */
export const seconds = (value) =>
    number(value, { style: "unit", unit: "second", maximumSignificantDigits: 3 });

/** Formats the day of a time or date, which stays on one line. */
export const day = (text) => dateTime(text, { dateStyle: "medium" }).replaceAll(" ", "\u00a0");

/** Formats the day without the year, for axes. */
export const shortDay = (text) => dateTime(text, { month: "short", day: "numeric" });

/** Formats the month and the year, in few characters. */
export const month = (text) => dateTime(text, { month: "short", year: "2-digit" });

/** Formats the year. */
export const year = (text) => dateTime(text, { year: "numeric" });

/** Formats day and time of day. */
export const time = (text) => dateTime(text, { dateStyle: "medium", timeStyle: "short" });

function dateTime(text, options) {
    if (text === null || text === undefined) return NONE;
    const date = new Date(text);
    if (Number.isNaN(date.valueOf())) return String(text);
    return format("DateTimeFormat", { timeZone: "UTC", ...options }).format(date);
}

const UNITS = [
    ["year", 31_557_600],
    ["month", 2_629_800],
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
];

/** Formats the time since `text`, such as "3 days ago". */
export function ago(text) {
    const passed = (Date.now() - new Date(text).valueOf()) / 1000;
    const [unit, length] = UNITS.find(([, length]) => Math.abs(passed) >= length) ?? ["second", 1];
    return format("RelativeTimeFormat", { numeric: "auto" }).format(-Math.round(passed / length), unit);
}

/** Returns the name of a weekday of the API, 1 for Monday. */
export function weekday(value) {
    return format("DateTimeFormat", { weekday: "long", timeZone: "UTC" }).format(
        new Date(Date.UTC(2024, 0, value)),
    );
}

/** Joins texts as a list. */
export const list = (texts) => format("ListFormat", { type: "conjunction" }).format(texts);

/** Formats the value of a feature by its type in `GET /v1/views`. */
export function featureValue(value, type = "") {
    if (value === null || value === undefined) return NONE;
    if (Array.isArray(value))
        return value.map((item) => (typeof item === "object" ? item.text : item)).join(", ");
    if (typeof value === "boolean") return value ? "✓" : "✗";
    if (type.startsWith("Timestamp")) return time(value);
    if (type.startsWith("Date")) return day(value);
    if (type.startsWith("Decimal")) return money(value);
    if (typeof value === "number")
        return number(value, { maximumFractionDigits: 4, useGrouping: value >= 10_000 });
    return String(value);
}
