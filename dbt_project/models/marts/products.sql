{{ config(engine='MergeTree()', order_by='product_id') }}

select
    product_id,
    argMaxIfMerge(latest_name) as name,
    argMaxIfMerge(latest_category) as category,
    argMaxIfMerge(latest_price) as price,
    argMaxIfMerge(latest_currency) as currency,
    argMaxIfMerge(latest_url) as url,
    argMaxIfMerge(latest_image_url) as image_url,
    sum(view_count) as view_count,
    sum(purchased_quantity) as purchased_quantity,
    uniqExact(id) as id_count
from {{ ref('product_states') }}
group by product_id
