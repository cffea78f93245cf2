{% macro wake_up_triggers() -%}
    {#- Trigger models that declare `wake_after_seconds` and `wake_on` in their YAML meta, by name. -#}
    {%- set found = [] -%}
    {%- if execute -%}
        {%- for node in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | sort(attribute='name') -%}
            {%- set declared = node.config.get('meta', {}).get('wakeline', {}) -%}
            {%- if declared.get('wake_after_seconds') -%}
                {%- do found.append({
                    'name': node.name, 'seconds': declared['wake_after_seconds'] | int, 'events': declared['wake_on']
                }) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(found) }}
{%- endmacro %}

{% macro quoted(values) -%}
    {%- for value in values -%}'{{ value }}'{% if not loop.last %}, {% endif %}{%- endfor -%}
{%- endmacro %}
