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

{% macro wake_up_arrays() -%}
    {#- One entry per trigger that declares a wake-up: its name, how long it waits, whether this event starts the wait. -#}
    {%- set names, waits, wakes = [], [], [] -%}
    {%- for trigger in wake_up_triggers() -%}
        {%- do names.append("'" ~ trigger.name ~ "'") -%}
        {%- do waits.append(trigger.seconds) -%}
        {%- do wakes.append("event in ('" ~ trigger.events | join("', '") ~ "')") -%}
    {%- endfor -%}
    accurateCast([{{ names | join(', ') }}], 'Array(String)') as trigger_name,
    accurateCast([{{ waits | join(', ') }}], 'Array(UInt32)') as wake_after_seconds,
    accurateCast([{{ wakes | join(', ') }}], 'Array(UInt8)') as wakes
{%- endmacro %}
