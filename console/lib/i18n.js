// Texts of the page. A language is one file of texts; English stands in for texts that another one lacks.

import { en } from "../i18n/en.js";
import { createStore, readStorage, writeStorage } from "./store.js";

/** Languages with their own names. */
export const LANGUAGES = { en: "English", zh: "中文" };

const FILES = {
    zh: () => import("../i18n/zh.js").then((file) => file.zh),
};

let texts = en;
let plural = new Intl.PluralRules("en");

export const language = createStore("en");

/** Returns the locale of numbers and dates: the reader's, if it is of the page's language. */
export function locale() {
    const chosen = language.get();
    const preferred = navigator.languages ?? [navigator.language];
    return preferred.find((tag) => tag.split("-")[0] === chosen) ?? chosen;
}

/** Loads the texts of the language that the reader chose, or that the browser prefers. */
export async function loadLanguage() {
    const preferred = (navigator.languages ?? []).map((tag) => tag.split("-")[0]);
    const chosen = [readStorage("localStorage", "larder.language"), ...preferred];
    await setLanguage(chosen.find((code) => code in LANGUAGES) ?? "en");
}

/** Changes the language of the page. */
async function setLanguage(code) {
    texts = FILES[code] ? await FILES[code]() : en;
    plural = new Intl.PluralRules(code);
    document.documentElement.lang = code;
    language.set(code);
}

/** Changes the language and keeps the choice. */
export function chooseLanguage(code) {
    writeStorage("localStorage", "larder.language", code);
    return setLanguage(code);
}

/**
 * Returns a text with `{name}` replaced. A text `one|other` is chosen by `count`, which is shown as `{n}`.
 * @param {string} key
 * @param {Record<string, unknown>} [values]
 */
export function t(key, values = {}) {
    let text = texts[key] ?? en[key] ?? key;
    if (text.includes("|") && "count" in values) {
        const [one, other] = text.split("|");
        text = plural.select(values.count) === "one" ? one : other;
    }
    return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Returns a text, or `otherwise` if there is none with this key. */
export function tOr(key, otherwise, values) {
    return key in texts || key in en ? t(key, values) : otherwise;
}
