{% macro recommended_with(product_id) -%}
    {#- What to recommend with a product, bestsellers where nothing is known. The table is a Join table: one look-up
        in memory, where a join would make every micro-batch read and plan it. -#}
    {%- set recommendations = ref('product_recommendations') -%}
    {%- set look_up -%}
        joinGet('{{ recommendations.schema }}.{{ recommendations.identifier }}', 'recommended',
    {%- endset -%}
    if(empty({{ look_up }} {{ product_id }})), {{ look_up }} ''), {{ look_up }} {{ product_id }}))
{%- endmacro %}
