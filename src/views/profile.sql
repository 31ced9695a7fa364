-- Who the customer is: the columns of the customers files, else what the transactions tell.
--
-- country: The country of the newest transaction, where the customers files have no such column.
-- created_at: When the customer was created, by the customers files.
-- first_seen_at: The earliest of created_at and the first event.
SELECT * FROM customers
