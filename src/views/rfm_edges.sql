-- step
-- Quintile edges of each measure over the customers with a purchase: type 7 of Hyndman and Fan, "Sample
-- Quantiles in Statistical Packages" (1996), computed exactly by rank. With n values v[0..n-1]:
-- j = (n-1)k div 5, f = (n-1)k mod 5, and edge k = (v[j]*(5-f) + v[j+1]*f) / 5. To freeze the edges, add a
-- file of this name to the views folder that selects measure, k and edge from VALUES.
WITH buyers AS (
    SELECT recency_days, frequency, monetary FROM rfm_values WHERE frequency > 0
),
-- Equal values are counted before they are sorted, except those of monetary, few of which are equal.
recencies AS (
    SELECT recency_days, CAST(count(*) AS BIGINT) AS customers FROM buyers GROUP BY recency_days
),
frequencies AS (
    SELECT frequency, CAST(count(*) AS BIGINT) AS customers FROM buyers GROUP BY frequency
),
ranked AS (
    SELECT 'recency_days' AS measure, CAST(recency_days AS DECIMAL(38, 4)) AS value, customers,
        sum(customers) OVER (ORDER BY recency_days ROWS UNBOUNDED PRECEDING) AS next_j
    FROM recencies
    UNION ALL
    SELECT 'frequency', CAST(frequency AS DECIMAL(38, 4)), customers,
        sum(customers) OVER (ORDER BY frequency ROWS UNBOUNDED PRECEDING)
    FROM frequencies
    UNION ALL
    SELECT 'monetary', monetary, 1, CAST(row_number() OVER (ORDER BY monetary) AS BIGINT) FROM buyers
),
places AS (
    SELECT k, ((n - 1) * k) / 5 AS j, ((n - 1) * k) % 5 AS f
    FROM (SELECT CAST(count(*) AS BIGINT) AS n FROM buyers)
    CROSS JOIN (VALUES (1), (2), (3), (4)) AS quintiles (k)
),
weights AS (
    SELECT k, j, 5 - f AS weight FROM places
    UNION ALL
    SELECT k, j + 1, f FROM places
)
SELECT
    r.measure,
    CAST(w.k AS INT) AS k,
    CAST(sum(r.value * w.weight) * CAST('0.2' AS DECIMAL(2, 1)) AS DECIMAL(38, 5)) AS edge
FROM weights w JOIN ranked r ON w.j >= r.next_j - r.customers AND w.j < r.next_j
GROUP BY r.measure, w.k
ORDER BY r.measure, k
