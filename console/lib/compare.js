// Differences of an audience from all customers: shares of values and means, as the service compares them.

const MOST_ROWS = 14;
/** Most values of one feature. */
const MOST_VALUES = 2;

/**
 * A line of a comparison.
 * @typedef {object} Difference
 * @property {string} feature
 * @property {string | number | boolean} [value] The value whose share is compared; absent for means.
 * @property {number} own Share or mean in the audience.
 * @property {number} all Share or mean of all customers.
 * @property {number | null} lift `own` / `all`.
 */

/** Returns the request for a comparison. */
export function comparisonRequest(where) {
    return { path: "/v1/audiences", body: { where, limit: 0, compare: true } };
}

/** Returns the lines of a comparison, strongest first. @returns {Difference[]} */
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
