select
    minute,
    sumIf(event_count, not {{ is_heartbeat('source') }} and status = 'accepted') as accepted_count,
    sumIf(event_count, not {{ is_heartbeat('source') }} and status = 'quarantined') as quarantined_count,
    sumIf(event_count, not {{ is_heartbeat('source') }}) as received_count,
    sumIf(event_count, {{ is_heartbeat('source') }}) as heartbeat_count
from {{ ref('traffic_minutes') }}
group by minute
