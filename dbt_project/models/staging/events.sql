{{
    config(
        engine='MergeTree()',
        order_by='(id, occurred_at, message_id)',
        partition_by='toYYYYMM(occurred_at)',
    )
}}

with accepted as (

    select *
    from {{ ref('landing') }}
    where status = 'accepted' and not {{ is_heartbeat('source') }}

),

parsed as (

    select
        *,
        JSONExtract(
            message,
            'properties',
            'Tuple(
                product_id String, name String, category String, price Float64, currency String, quantity UInt32,
                url String, image_url String, cart_id String, order_id String, total Float64,
                engaged_seconds Float64, scroll_depth_percent Float64, path String, automated Bool,
                products Array(Tuple(
                    product_id String, name String, category String, price Float64, quantity UInt32,
                    url String, image_url String
                ))
            )'
        ) as properties,
        JSONExtract(message, 'traits', 'Tuple(email String, firstName String, lastName String, timezone String)')
            as traits,
        JSONExtract(message, 'context', 'Tuple(sessionId String, traits Tuple(email String), page Tuple(path String))')
            as context
    from accepted

),

named as (

    select
        *,
        -- A client without sessions has one session a day.
        if(context.sessionId != '', context.sessionId, toString(toDate(occurred_at))) as session_id,
        if(traits.email != '', traits.email, context.traits.email) as email,
        if(
            empty(properties.products) and properties.product_id != '',
            [(
                properties.product_id, properties.name, properties.category, properties.price,
                properties.quantity, properties.url, properties.image_url
            )],
            properties.products
        ) as products
    from parsed

)

select
    ---------- ids
    message_id,
    id,
    user_id,
    anonymous_id,
    session_id,
    `partition`,
    offset,

    ---------- event
    type,
    event,
    properties.automated or event in ({{ mail_reports() }}) as is_automated,
    properties.category as category,
    if(properties.path != '', properties.path, context.page.path) as path,
    properties.cart_id as cart_id,
    properties.order_id as order_id,
    properties.currency as currency,

    ---------- person
    email,
    traits.firstName as first_name,
    traits.lastName as last_name,
    traits.timezone as timezone,

    ---------- numerics
    -- Whole milliseconds, because sums of fractions depend on the order of their rows.
    toUInt64(round(least(greatest(properties.engaged_seconds, 0), 86400) * 1000)) as engaged_ms,
    properties.scroll_depth_percent as scroll_depth_percent,
    properties.total as total,

    ---------- products: one entry per line of a cart or an order, else the product the event is about
    arrayMap(product -> tupleElement(product, 1), products) as product_ids,
    arrayMap(product -> tupleElement(product, 2), products) as product_names,
    arrayMap(product -> if(tupleElement(product, 3) != '', tupleElement(product, 3), properties.category), products)
        as product_categories,
    arrayMap(product -> tupleElement(product, 4), products) as product_prices,
    arrayMap(product -> greatest(tupleElement(product, 5), 1), products) as product_quantities,
    arrayMap(product -> tupleElement(product, 6), products) as product_urls,
    arrayMap(product -> tupleElement(product, 7), products) as product_image_urls,

    ---------- timestamps
    occurred_at,
    received_at
from named
