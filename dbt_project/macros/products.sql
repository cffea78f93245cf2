{% macro product_type() -%}
    {#- A product as mails show it; the same fields in the same order everywhere. -#}
    Tuple(product_id String, name String, price Float64, currency String, url String, image_url String)
{%- endmacro %}

{% macro ordered_product_type() -%}
    {#- A product with how many of it are in the cart or the order. -#}
    Tuple(
        product_id String, name String, price Float64, currency String, url String, image_url String, quantity UInt32
    )
{%- endmacro %}
