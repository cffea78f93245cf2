-- Received = accepted + duplicate + quarantined: every offset of the stream stands in landing exactly once.
select
    stream,
    `partition`,
    count() as row_count,
    max(offset) - min(offset) + 1 as offset_count
from {{ ref('landing') }}
group by stream, `partition`
having row_count != offset_count
