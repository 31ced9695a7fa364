// Differences of an audience from all customers: shares of values and means. The service compares them; for
// one that cannot yet, they come from breakdowns of both.

import { EVERYBODY, kindOf } from "./views.js";

const TOP = 20;
const BUCKETS = 20;
/** Values that fewer members have say little. */
const LEAST_MEMBERS = 5;
const MOST_ROWS = 14;
/** Values of one feature in a comparison by the service. */
const MOST_VALUES = 2;

/** Returns the request for a comparison by the service. */
export function comparisonRequest(where) {
    return { path: "/v1/audiences", body: { where, limit: 0, compare: true } };
}

/** Returns the lines of a comparison by the service, strongest first. @returns {Difference[]} */
export function comparisonRows({ features }) {
    const rows = features.flatMap(({ feature, numbers, values = [] }) => {
        if (numbers) {
            const { mean: own, mean_all: all } = numbers;
            return [{ feature, own, all, lift: own > 0 && all > 0 ? own / all : null }];
        }
        const row = ({ value, share: own, share_all: all, lift }) => ({ feature, value, own, all, lift });
        const present = values.filter(({ customers }) => customers > 0);
        return present.slice(0, MOST_VALUES).map(row);
    });
    return rows.slice(0, MOST_ROWS);
}

/** Returns the requests for a comparison: for each feature one of the audience and one of everybody. */
export function compareRequests(where, features) {
    return features.filter(isCompared).flatMap((feature) =>
        [where, EVERYBODY].map((one) => ({
            path: "/v1/audiences",
            body: { where: one, limit: 0, breakdown: breakdownOf(feature) },
        })),
    );
}

function isCompared({ type, personal, view, name }) {
    const isId = /(^|_)(rfm_score|favourite_product)$/.test(name.split(".")[1]);
    return (
        !personal &&
        !isId &&
        view !== "recommendations" &&
        ["text", "boolean", "number"].includes(kindOf(type))
    );
}

function breakdownOf({ name, type }) {
    return isCategory(type) ? { feature: name, top: TOP } : { feature: name, buckets: BUCKETS };
}

/** Scores are small integers; their values are compared one by one, as texts are. */
const isCategory = (type) => ["text", "boolean"].includes(kindOf(type)) || type === "Int32";

/**
 * A line of a comparison.
 * @typedef {object} Difference
 * @property {string} feature
 * @property {string | number | boolean} [value] The value whose share is compared; absent for means.
 * @property {number} own Share or mean in the audience.
 * @property {number} all Share or mean of all customers.
 * @property {number} lift `own` / `all`.
 * @property {number} [members]
 */

/** Returns the greatest differences, most distinguishing first. @returns {Difference[]} */
export function differences(features, answers) {
    const found = features.filter(isCompared).flatMap((feature, index) => {
        const [own, all] = answers.slice(index * 2, index * 2 + 2);
        return isCategory(feature.type) ? shares(feature.name, own, all) : means(feature.name, own, all);
    });
    return found.sort((a, b) => b.weight - a.weight).slice(0, MOST_ROWS);
}

function shares(feature, own, all) {
    const total = { own: own.total, all: all.total };
    return (own.breakdown?.values ?? []).flatMap(({ value, customers }) => {
        const everywhere = all.breakdown.values.find((one) => one.value === value)?.customers;
        if (!everywhere || customers < LEAST_MEMBERS) return [];
        const [share, shareOfAll] = [customers / total.own, everywhere / total.all];
        const spread = Math.sqrt(Math.max(shareOfAll * (1 - shareOfAll), 1e-6));
        return [
            {
                feature,
                value,
                own: share,
                all: shareOfAll,
                lift: share / shareOfAll,
                members: customers,
                weight: Math.abs(share - shareOfAll) / spread,
            },
        ];
    });
}

function means(feature, own, all) {
    const [one, other] = [moments(own.breakdown?.buckets), moments(all.breakdown?.buckets)];
    if (!one || !other || !other.spread) return [];
    return [
        {
            feature,
            own: one.mean,
            all: other.mean,
            lift: one.mean > 0 && other.mean > 0 ? one.mean / other.mean : null,
            weight: Math.abs(one.mean - other.mean) / other.spread,
        },
    ];
}

/** Estimates mean and standard deviation from buckets. */
function moments(buckets = []) {
    const members = buckets.reduce((sum, { customers }) => sum + customers, 0);
    if (members === 0 || typeof buckets[0].from !== "number") return null;
    const middle = ({ from, to }) => (from + to) / 2;
    const mean = buckets.reduce((sum, bucket) => sum + middle(bucket) * bucket.customers, 0) / members;
    const variance =
        buckets.reduce((sum, bucket) => sum + (middle(bucket) - mean) ** 2 * bucket.customers, 0) / members;
    return { mean, spread: Math.sqrt(variance) };
}
