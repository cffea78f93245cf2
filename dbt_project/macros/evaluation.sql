{% macro as_of() -%}
    {#- The moment a trigger is evaluated at: the only "now" a trigger may use. -#}
    {%- if var('evaluation', 'everyone') == 'live' -%}
        {as_of:DateTime64(3, 'UTC')}
    {%- else -%}
        now64(3, 'UTC')
    {%- endif -%}
{%- endmacro %}

{% macro candidates() -%}
    {#- The profiles to evaluate, one row per id of each: in a micro-batch those it touched and those whose
        wake-up is due, in previews and tests everyone. -#}
    {%- if var('evaluation', 'everyone') == 'live' -%}
        _candidates
    {%- else -%}
        {{ ref('profile_members') }}
    {%- endif -%}
{%- endmacro %}

{% macro candidate_states(states) -%}
    {#- The states of the candidates' ids, each with the profile the id belongs to. -#}
    (
        select
            members.profile_id as profile_id,
            states.*
        from {{ states }} as states
        inner join {{ candidates() }} as members on states.id = members.id
        where states.id in (select candidate_ids.id from {{ candidates() }} as candidate_ids)
    )
{%- endmacro %}
