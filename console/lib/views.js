// The views and features of the snapshot.

import { useApi } from "./api.js";

/**
 * A feature with its name in expressions, `view.feature`.
 * @typedef {{name: string, view: string, type: string, description: string, personal: boolean}} Feature
 */

/** Returns the features of an answer of `GET /v1/views`. @returns {Feature[]} */
function featuresOf(data) {
    return (data?.views ?? []).flatMap(({ name: view, features }) =>
        features.map(({ name, ...feature }) => ({ ...feature, view, name: `${view}.${name}` })),
    );
}

/** Loads the features of the snapshot. */
export function useFeatures() {
    const { data } = useApi({ path: "/v1/views" });
    return featuresOf(data);
}

/** Returns the value of a feature, `view.feature`, in the views of a customer. */
export function valueOf(views, name) {
    const [view, feature] = name.split(/\.(.*)/s);
    return views[view]?.[feature] ?? null;
}

/** Features whose values are ids of products, and where an answer with `names` has the names. */
const PRODUCT_NAMES = {
    "behavior.favourite_product": "behavior.favourite_product_name",
    "recommendations.products": "recommendations.product_names",
    "recommendations.product_because": "recommendations.product_because_names",
    "recommendations.buy_again": "recommendations.buy_again_names",
};

/** Returns whether the values of a feature are ids of products. */
export const hasProductIds = (name) => name in PRODUCT_NAMES;

/** Returns the names of the products whose ids are the value of a feature; `null` for other features. */
export const namesOf = (views, name) => (hasProductIds(name) ? valueOf(views, PRODUCT_NAMES[name]) : null);

/** Returns the kind of a type: how values are compared and entered. */
export function kindOf(type = "") {
    if (type === "Boolean") return "boolean";
    if (/^(Int|UInt|Float|Decimal)/.test(type)) return "number";
    if (/^(Timestamp|Date)/.test(type)) return "time";
    return type === "Utf8" ? "text" : "other";
}

/** Returns the kind of the elements of a list that expressions can search; `null` for other types. */
export function elementKindOf(type = "") {
    const element = /^List\((.*)\)$/.exec(type)?.[1];
    return /^(Utf8|Int32|Int64|Decimal128.*|Date32)$/.test(element ?? "") ? kindOf(element) : null;
}

/** An expression for all customers: a test for null is always true or false. */
export const EVERYBODY = "rfm.segment is null or rfm.segment is not null";
