{% macro asks_for_confirmation(source, purpose) -%}
    {#- Whether a yes of this source to this purpose counts only once it is confirmed: `double_opt_in` of a source in
        wakeline.toml. The var holds the purposes by source. -#}
    {%- set asked = [] -%}
    {%- for name, purposes in var('double_opt_in', {}).items() -%}
        {%- for one in purposes -%}
            {%- do asked.append("('" ~ name ~ "', '" ~ one ~ "')") -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if asked -%}
        has([{{ asked | join(', ') }}], ({{ source }}, {{ purpose }}))
    {%- else -%}
        false
    {%- endif -%}
{%- endmacro %}

{% macro opt_outs() -%}
    {#- The events by which a person withdraws a consent from a mail. -#}
    'Unsubscribed', 'Email Unsubscribed'
{%- endmacro %}

{% macro id_of_address(address, otherwise) -%}
    {#- The id of an address that nobody has tied to a person; `otherwise` where there is no address. -#}
    if({{ address }} = '', {{ otherwise }}, concat('email:', lowerUTF8(trimBoth({{ address }}))))
{%- endmacro %}
