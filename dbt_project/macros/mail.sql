{% macro mail_reports() -%}
    {#- What a mail provider reports of a mail: nothing the person did. -#}
    'Email Sent', 'Email Delivered', 'Email Deferred', 'Email Bounced', 'Email Dropped'
{%- endmacro %}
