{% macro is_heartbeat(source) -%}
    {#- Whether an event is a synthetic one of `wakeline heartbeat`, whose source nobody else can use: it is no
        customer's, and counts in landing and traffic only. -#}
    {{ source }} = 'heartbeat'
{%- endmacro %}
