{% macro is_trusted(source) -%}
    {#- Whether a source is believed in what it reports of mails: webhooks, our own mails and trusted servers. -#}
    {%- set trusted = var('trusted_sources', []) -%}
    {%- if trusted -%}
        {{ source }} in ('{{ trusted | join("', '") }}')
    {%- else -%}
        false
    {%- endif -%}
{%- endmacro %}
