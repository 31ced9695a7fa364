-- Recency, frequency and monetary value, their quintile scores and the segment.
--
-- recency_days: Number of whole days from the newest purchase line to as_of; null without a purchase.
-- frequency: Number of distinct orders with a purchase line.
-- monetary: Purchases minus returns and reductions, in the currency of the raw data; may be negative.
-- r_score: 5 minus the number of recency edges below recency_days, 1 to 5; null without a purchase.
-- f_score: 1 plus the number of frequency edges below frequency, 1 to 5; null without a purchase.
-- m_score: 1 plus the number of monetary edges below monetary, 1 to 5; null without a purchase.
-- rfm_score: The r, f and m score as three digits; null without a purchase.
-- segment: Segment of the R×F grid; returns_only or prospect without a purchase.
WITH edges AS (
    SELECT
        max(CASE WHEN measure = 'recency_days' AND k = 1 THEN edge END) AS r1,
        max(CASE WHEN measure = 'recency_days' AND k = 2 THEN edge END) AS r2,
        max(CASE WHEN measure = 'recency_days' AND k = 3 THEN edge END) AS r3,
        max(CASE WHEN measure = 'recency_days' AND k = 4 THEN edge END) AS r4,
        max(CASE WHEN measure = 'frequency' AND k = 1 THEN edge END) AS f1,
        max(CASE WHEN measure = 'frequency' AND k = 2 THEN edge END) AS f2,
        max(CASE WHEN measure = 'frequency' AND k = 3 THEN edge END) AS f3,
        max(CASE WHEN measure = 'frequency' AND k = 4 THEN edge END) AS f4,
        max(CASE WHEN measure = 'monetary' AND k = 1 THEN edge END) AS m1,
        max(CASE WHEN measure = 'monetary' AND k = 2 THEN edge END) AS m2,
        max(CASE WHEN measure = 'monetary' AND k = 3 THEN edge END) AS m3,
        max(CASE WHEN measure = 'monetary' AND k = 4 THEN edge END) AS m4
    FROM rfm_edges
),
scored AS (
    SELECT v.customer_id, v.last_purchase_at, v.frequency, v.monetary, v.has_returns,
        CASE WHEN v.frequency > 0 THEN
            5 - CAST(v.recency_days > e.r1 AS INT) - CAST(v.recency_days > e.r2 AS INT)
              - CAST(v.recency_days > e.r3 AS INT) - CAST(v.recency_days > e.r4 AS INT)
        END AS r,
        CASE WHEN v.frequency > 0 THEN
            1 + CAST(v.frequency > e.f1 AS INT) + CAST(v.frequency > e.f2 AS INT)
              + CAST(v.frequency > e.f3 AS INT) + CAST(v.frequency > e.f4 AS INT)
        END AS f,
        CASE WHEN v.frequency > 0 THEN
            1 + CAST(v.monetary > e.m1 AS INT) + CAST(v.monetary > e.m2 AS INT)
              + CAST(v.monetary > e.m3 AS INT) + CAST(v.monetary > e.m4 AS INT)
        END AS m
    FROM rfm_values v CROSS JOIN edges e
)
SELECT
    customer_id,
    days_since(last_purchase_at) AS recency_days,
    frequency,
    monetary,
    CAST(r AS INT) AS r_score,
    CAST(f AS INT) AS f_score,
    CAST(m AS INT) AS m_score,
    CASE WHEN frequency > 0 THEN CAST(r * 100 + f * 10 + m AS VARCHAR) END AS rfm_score,
    CASE
        WHEN frequency = 0 THEN CASE WHEN has_returns THEN 'returns_only' ELSE 'prospect' END
        WHEN r <= 2 AND f <= 2 THEN 'hibernating'
        WHEN r <= 2 AND f <= 4 THEN 'at_risk'
        WHEN r <= 2 THEN 'cant_lose'
        WHEN r = 3 AND f <= 2 THEN 'about_to_sleep'
        WHEN r = 3 AND f = 3 THEN 'need_attention'
        WHEN r = 4 AND f = 1 THEN 'promising'
        WHEN r = 5 AND f = 1 THEN 'new'
        WHEN r >= 4 AND f <= 3 THEN 'potential_loyalist'
        WHEN r = 5 THEN 'champions'
        ELSE 'loyal'
    END AS segment
FROM scored
