select * from {{ ref('sends') }} final
