-- dbt builds a table beside the old one and exchanges them when it is complete: this is its last success.
select
    name as model,
    toTimeZone(metadata_modification_time, 'UTC') as built_at
from system.tables
where database = currentDatabase()
