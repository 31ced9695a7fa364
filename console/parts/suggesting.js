// A field that suggests the values of a feature that customers have.

import { html, useId } from "../vendor/preact.js";
import { useApi } from "../lib/api.js";
import { EVERYBODY } from "../lib/views.js";

const SUGGESTED_VALUES = 100;

/**
 * @param {object} props
 * @param {"text" | "number"} props.type Type of the field.
 * @param {string} [props.feature] Feature whose values are suggested.
 * @param {string[]} [props.values] Values to suggest instead.
 * @param {(text: string) => void} props.onInput
 */
export function Suggesting({ type = "text", feature, values, label, text, onInput, placeholder }) {
    const id = useId();
    const { data } = useApi(feature ? suggestions(feature) : null);
    const suggested = values ?? data?.breakdown?.values?.map(({ value }) => value) ?? [];
    return html`<input class="value" type=${type} step="any" aria-label=${label} value=${text}
        placeholder=${placeholder}
            list=${suggested.length > 0 ? id : undefined} autocomplete="off" spellcheck="false"
            onInput=${({ currentTarget }) => onInput(currentTarget.value)} />
        ${
            suggested.length > 0 &&
            html`<datalist id=${id}>${suggested.map(
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
