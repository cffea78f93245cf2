{{ config(tags=['live']) }}

-- What a mail needs to know of a person.
select
    profile_id,
    email,
    first_name,
    last_name,
    timezone
from {{ ref('persons') }}
