{% macro recommendations_for(products) -%}
    {#- Rows of `product_recommendations` for the product ids of a query: only those are read from the table. -#}
    (
        select
            product_id,
            recommended
        from {{ ref('product_recommendations') }}
        where product_id in ({{ products }})
    )
{%- endmacro %}

{% macro recommended_or_bestsellers(recommended) -%}
    {#- A product without recommendations of its own gets the bestsellers. -#}
    if(
        empty({{ recommended }}),
        (select any(fallback.recommended) from {{ ref('product_recommendations') }} as fallback where product_id = ''),
        {{ recommended }}
    )
{%- endmacro %}
