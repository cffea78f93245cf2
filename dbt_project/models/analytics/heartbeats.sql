select
    `partition`,
    max(last_received_at) as last_received_at
from {{ ref('traffic_minutes') }}
where {{ is_heartbeat('source') }} and status = 'accepted' and minute > now() - interval 1 day
group by `partition`
