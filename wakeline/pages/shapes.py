"""SVG drawings in a 400 by 400 square, by category and by words of product names.

Each is a format string for the colours main, dark, deep, light and pale.
"""

# ruff: noqa: E501 - a path is not easier to read in pieces.

_SNEAKER = """
<path d="M62 272 C60 236 70 196 80 170 C96 184 118 184 134 168 L156 152 C178 194 214 216 268 224 C316 231 340 246 342 272 Z" fill="{main}"/>
<path d="M62 272 C60 236 70 196 80 170 C96 184 118 184 134 168 C126 206 116 240 114 272 Z" fill="{dark}"/>
<path d="M268 224 C316 231 340 246 342 272 H262 C256 252 258 236 268 224 Z" fill="{light}"/>
<path d="M150 224 C176 246 212 252 250 250" fill="none" stroke="{pale}" stroke-width="11"/>
<g stroke="{pale}" stroke-width="7"><path d="M160 196 L186 178"/><path d="M180 214 L206 196"/><path d="M204 228 L228 210"/></g>
<path d="M56 272 H346 C352 298 342 316 318 316 H80 C60 316 52 298 56 272 Z" fill="#fbfaf7"/>
<path d="M58 296 H346" stroke="{pale}" stroke-width="4"/>
"""

_DRESS = """
<path d="M158 72 L168 128 C172 152 168 176 162 190 L104 318 C140 338 260 338 296 318 L238 190 C232 176 228 152 232 128 L242 72 L226 72 C222 104 178 104 174 72 Z" fill="{main}"/>
<path d="M162 190 C186 198 214 198 238 190 L242 204 C214 212 186 212 158 204 Z" fill="{dark}"/>
<g fill="none" stroke="{dark}" stroke-width="3" opacity=".55"><path d="M176 212 L150 326"/><path d="M200 214 V332"/><path d="M224 212 L250 326"/></g>
<path d="M168 128 C180 116 190 108 200 96 C210 108 220 116 232 128" fill="none" stroke="{light}" stroke-width="4"/>
"""

_JACKET = """
<path d="M132 96 L96 132 L66 266 L108 280 L130 200 Z" fill="{dark}"/>
<path d="M268 96 L304 132 L334 266 L292 280 L270 200 Z" fill="{dark}"/>
<path d="M132 96 L170 76 H230 L268 96 L276 332 H124 Z" fill="{main}"/>
<path d="M170 76 H230 L214 104 H186 Z" fill="{deep}"/>
<path d="M170 76 L148 108 L182 134 L200 104 Z M230 76 L252 108 L218 134 L200 104 Z" fill="{light}"/>
<path d="M200 106 V332" stroke="{deep}" stroke-width="4"/>
<g fill="none" stroke="{dark}" stroke-width="5"><path d="M142 250 H180 V292 H142 Z"/><path d="M220 250 H258 V292 H220 Z"/><path d="M148 172 H180"/><path d="M220 172 H252"/></g>
"""

_BAG = """
<path d="M146 170 C146 96 254 96 254 170" fill="none" stroke="{dark}" stroke-width="11"/>
<path d="M104 164 H296 L318 318 C320 332 312 340 298 340 H102 C88 340 80 332 82 318 Z" fill="{main}"/>
<path d="M104 164 H296 L300 192 H100 Z" fill="{dark}"/>
<circle cx="146" cy="178" r="6" fill="{pale}"/><circle cx="254" cy="178" r="6" fill="{pale}"/>
<path d="M100 300 H300" stroke="{light}" stroke-width="3" stroke-dasharray="9 8"/>
"""

_SADDLE_BAG = """
<path d="M96 196 C96 60 304 60 304 196" fill="none" stroke="{dark}" stroke-width="10"/>
<path d="M82 184 H318 C330 236 322 300 296 338 H104 C78 300 70 236 82 184 Z" fill="{main}"/>
<path d="M82 184 H318 C326 220 322 256 306 276 C252 300 148 300 94 276 C78 256 74 220 82 184 Z" fill="{dark}"/>
<rect x="184" y="268" width="32" height="42" rx="9" fill="{pale}"/><circle cx="200" cy="294" r="5" fill="{deep}"/>
<path d="M104 200 H296" stroke="{light}" stroke-width="3" stroke-dasharray="9 8"/>
"""

_BACKPACK = """
<path d="M170 92 C170 58 230 58 230 92" fill="none" stroke="{deep}" stroke-width="11"/>
<path d="M116 150 C116 108 146 88 200 88 C254 88 284 108 284 150 V316 C284 332 274 342 258 342 H142 C126 342 116 332 116 316 Z" fill="{main}"/>
<path d="M116 176 V150 C116 108 146 88 200 88 C254 88 284 108 284 150 V176 C240 196 160 196 116 176 Z" fill="{dark}"/>
<rect x="142" y="230" width="116" height="84" rx="14" fill="{dark}"/>
<path d="M142 256 H258" stroke="{pale}" stroke-width="4"/>
<path d="M200 178 V212" stroke="{pale}" stroke-width="12"/>
"""

_CRESCENT = """
<path d="M84 226 C90 90 310 90 316 226" fill="none" stroke="{dark}" stroke-width="11"/>
<path d="M72 214 C140 250 260 250 328 214 C334 292 276 342 200 342 C124 342 66 292 72 214 Z" fill="{main}"/>
<path d="M72 214 C140 250 260 250 328 214" fill="none" stroke="{light}" stroke-width="5"/>
<path d="M200 242 V270" stroke="{pale}" stroke-width="8"/><circle cx="200" cy="278" r="7" fill="{pale}"/>
"""

_WEEKENDER = """
<path d="M142 204 C142 118 258 118 258 204" fill="none" stroke="{deep}" stroke-width="11"/>
<path d="M84 196 C150 172 250 172 316 196 C330 240 332 290 322 324 C318 336 310 342 298 342 H102 C90 342 82 336 78 324 C68 290 70 240 84 196 Z" fill="{main}"/>
<path d="M84 196 C150 172 250 172 316 196 L318 208 C250 186 150 186 82 208 Z" fill="{pale}"/>
<path d="M140 184 H166 V342 H140 Z M234 184 H260 V342 H234 Z" fill="{dark}"/>
<rect x="178" y="250" width="44" height="30" rx="5" fill="{light}"/>
"""

_KNIT = """
<path d="M140 92 L98 124 L64 280 L106 294 L134 196 Z" fill="{dark}"/>
<path d="M260 92 L302 124 L336 280 L294 294 L266 196 Z" fill="{dark}"/>
<path d="M140 92 L170 80 C184 98 216 98 230 80 L260 92 L270 316 H130 Z" fill="{main}"/>
<path d="M170 80 C184 98 216 98 230 80 L238 90 C218 116 182 116 162 90 Z" fill="{light}"/>
<path d="M129 316 H271 V336 H129 Z" fill="{light}"/>
<path d="M60 276 L108 292 L104 310 L56 294 Z M340 276 L292 292 L296 310 L344 294 Z" fill="{light}"/>
<g fill="none" stroke="{dark}" stroke-width="4" opacity=".6"><path d="M172 136 q10 14 0 28 q-10 14 0 28 q10 14 0 28 q-10 14 0 28 q10 14 0 28"/><path d="M200 136 q10 14 0 28 q-10 14 0 28 q10 14 0 28 q-10 14 0 28 q10 14 0 28"/><path d="M228 136 q10 14 0 28 q-10 14 0 28 q10 14 0 28 q-10 14 0 28 q10 14 0 28"/></g>
"""

_BRETON = """
<path d="M140 92 L98 124 L64 280 L106 294 L134 196 Z" fill="#ece8e0"/>
<path d="M260 92 L302 124 L336 280 L294 294 L266 196 Z" fill="#ece8e0"/>
<path d="M140 92 L170 80 C184 98 216 98 230 80 L260 92 L270 336 H130 Z" fill="#fbfaf7"/>
<g fill="none" stroke="{main}" stroke-width="10" stroke-linecap="butt"><path d="M136 156 H265"/><path d="M134 186 H267"/><path d="M133 216 H268"/><path d="M132 246 H268"/><path d="M131 276 H269"/><path d="M130 306 H270"/></g>
<g fill="none" stroke="{main}" stroke-width="9" stroke-linecap="butt"><path d="M89 170 L132 186"/><path d="M82 200 L126 215"/><path d="M76 230 L117 244"/><path d="M69 260 L109 274"/><path d="M311 170 L268 186"/><path d="M318 200 L274 215"/><path d="M324 230 L283 244"/><path d="M331 260 L291 274"/></g>
<path d="M170 80 C184 98 216 98 230 80" fill="none" stroke="{main}" stroke-width="8"/>
"""

_VEST = """
<path d="M146 96 L176 84 L200 150 L224 84 L254 96 C246 130 252 164 272 186 L274 318 H126 L128 186 C148 164 154 130 146 96 Z" fill="{main}"/>
<path d="M176 84 L200 150 L224 84" fill="none" stroke="{light}" stroke-width="12"/>
<path d="M126 312 H274 V334 H126 Z" fill="{light}"/>
<g stroke="{dark}" stroke-width="4" opacity=".55"><path d="M160 200 V302"/><path d="M187 200 V302"/><path d="M213 200 V302"/><path d="M240 200 V302"/></g>
"""

_JEANS = """
<path d="M138 72 H262 L290 338 H222 L200 168 L178 338 H110 Z" fill="{main}"/>
<path d="M138 72 H262 L265 98 H135 Z" fill="{dark}"/>
<path d="M200 98 V168 L192 230" fill="none" stroke="{dark}" stroke-width="4"/>
<g fill="none" stroke="{light}" stroke-width="4"><path d="M136 112 C150 138 162 140 176 100"/><path d="M264 112 C250 138 238 140 224 100"/><path d="M112 322 H180"/><path d="M220 322 H288"/></g>
<circle cx="200" cy="85" r="6" fill="{pale}"/>
"""

_BOOT = """
<path d="M136 76 H228 C230 130 226 170 232 202 C238 228 262 232 292 244 C322 256 330 276 330 304 H132 C124 226 142 150 136 76 Z" fill="{main}"/>
<path d="M292 244 C322 256 330 276 330 304 H262 C256 274 266 250 292 244 Z" fill="{dark}"/>
<path d="M136 76 H228 L228 100 H138 Z" fill="{dark}"/>
<path d="M128 304 H334 V322 C334 330 328 334 320 334 H206 L198 324 L188 344 H132 C128 330 126 316 128 304 Z" fill="{deep}"/>
"""

_CHELSEA = (
    _BOOT
    + """
<path d="M172 108 H202 C204 150 204 180 210 206 C196 214 182 210 172 200 C178 170 176 140 172 108 Z" fill="{deep}"/>
<path d="M150 62 V84" stroke="{deep}" stroke-width="9"/>
"""
)

_LACED_BOOT = (
    _BOOT
    + """
<g stroke="{pale}" stroke-width="6"><path d="M196 128 L228 122"/><path d="M196 154 L228 148"/><path d="M198 180 L230 174"/><path d="M204 208 L236 198"/><path d="M222 230 L248 216"/></g>
"""
)

_BEANIE = """
<path d="M98 262 C98 150 140 98 200 98 C260 98 302 150 302 262 Z" fill="{main}"/>
<g fill="none" stroke="{dark}" stroke-width="4" opacity=".7"><path d="M200 100 V262"/><path d="M168 106 C146 150 140 200 140 262"/><path d="M232 106 C254 150 260 200 260 262"/></g>
<rect x="86" y="246" width="228" height="68" rx="20" fill="{light}"/>
<g stroke="{main}" stroke-width="4"><path d="M120 258 V302"/><path d="M147 258 V302"/><path d="M174 258 V302"/><path d="M201 258 V302"/><path d="M228 258 V302"/><path d="M255 258 V302"/><path d="M282 258 V302"/></g>
<circle cx="200" cy="90" r="24" fill="{light}"/>
"""

_SCARF = """
<path d="M118 96 C160 74 240 74 282 96 C292 132 278 160 246 170 H154 C122 160 108 132 118 96 Z" fill="{dark}"/>
<path d="M150 150 H208 L196 322 H126 Z" fill="{main}"/>
<path d="M196 150 H252 L282 296 H214 Z" fill="{light}"/>
<g stroke="{deep}" stroke-width="5" opacity=".55"><path d="M144 200 H204"/><path d="M138 244 H201"/><path d="M132 288 H198"/><path d="M178 152 L160 322"/><path d="M206 198 H262"/><path d="M211 244 H271"/><path d="M226 152 L248 296"/></g>
<g stroke="{main}" stroke-width="6"><path d="M130 322 V340"/><path d="M147 322 V340"/><path d="M164 322 V340"/><path d="M181 322 V340"/></g>
<g stroke="{light}" stroke-width="6"><path d="M220 296 V314"/><path d="M238 296 V314"/><path d="M256 296 V314"/><path d="M274 296 V314"/></g>
"""

_BELT = """
<circle cx="206" cy="206" r="104" fill="none" stroke="{main}" stroke-width="40"/>
<circle cx="206" cy="206" r="104" fill="none" stroke="{light}" stroke-width="3" stroke-dasharray="9 9"/>
<circle cx="206" cy="206" r="66" fill="none" stroke="{dark}" stroke-width="34" opacity=".45"/>
<rect x="74" y="168" width="62" height="80" rx="12" fill="none" stroke="#d8c58a" stroke-width="11"/>
<path d="M78 208 H124" stroke="#d8c58a" stroke-width="9"/>
"""

_BANDANA = """
<path d="M64 132 C150 164 250 164 336 132 L214 322 C206 334 194 334 186 322 Z" fill="{main}"/>
<path d="M64 132 C150 164 250 164 336 132 L326 148 C250 180 150 180 74 148 Z" fill="{dark}"/>
<g fill="{pale}"><circle cx="150" cy="204" r="7"/><circle cx="200" cy="204" r="7"/><circle cx="250" cy="204" r="7"/><circle cx="175" cy="242" r="7"/><circle cx="225" cy="242" r="7"/><circle cx="200" cy="280" r="7"/></g>
"""

_SUNGLASSES = """
<path d="M96 196 C88 176 74 168 58 170" fill="none" stroke="{main}" stroke-width="12"/>
<path d="M304 196 C312 176 326 168 342 170" fill="none" stroke="{main}" stroke-width="12"/>
<path d="M184 206 C192 196 208 196 216 206" fill="none" stroke="{main}" stroke-width="13"/>
<rect x="84" y="180" width="104" height="86" rx="38" fill="{deep}" stroke="{main}" stroke-width="13"/>
<rect x="212" y="180" width="104" height="86" rx="38" fill="{deep}" stroke="{main}" stroke-width="13"/>
<path d="M112 232 L142 200 M240 232 L270 200" stroke="{light}" stroke-width="7" opacity=".6"/>
"""

_GLOVES = """
<g fill="{dark}" transform="translate(36 -14) rotate(9 240 220)"><path d="M196 318 V244 L180 196 C176 178 196 172 204 186 L214 206 V124 C214 106 238 106 238 124 V116 C238 98 262 98 262 116 V128 C262 112 284 112 284 130 V226 C284 258 276 284 272 318 Z"/></g>
<g fill="{main}" transform="translate(-52 6)"><path d="M154 318 V236 C146 220 138 208 138 190 V134 C138 116 160 116 160 132 V116 C160 98 184 98 184 116 V112 C184 94 208 94 208 112 V124 C208 108 230 108 230 126 V206 L244 180 C252 166 272 174 266 192 L246 244 C240 262 234 290 232 318 Z"/><rect x="148" y="306" width="90" height="30" rx="8" fill="{light}"/></g>
"""

#: Stands in for a category that has no drawing yet: a parcel.
DEFAULT_SHAPE = """
<path d="M92 158 L200 110 L308 158 V292 L200 340 L92 292 Z" fill="{main}"/>
<path d="M200 206 L308 158 V292 L200 340 Z" fill="{dark}"/>
<path d="M92 158 L200 110 L308 158 L200 206 Z" fill="{light}"/>
<path d="M146 134 L254 182 V222" fill="none" stroke="{pale}" stroke-width="12"/>
"""

SHAPES = {
    "backpack": _BACKPACK,
    "bags": _BAG,
    "bandana": _BANDANA,
    "beanie": _BEANIE,
    "belt": _BELT,
    "boots": _BOOT,
    "breton": _BRETON,
    "chelsea": _CHELSEA,
    "crescent": _CRESCENT,
    "dresses": _DRESS,
    "gloves": _GLOVES,
    "hiking": _LACED_BOOT,
    "jackets": _JACKET,
    "jeans": _JEANS,
    "knitwear": _KNIT,
    "lace": _LACED_BOOT,
    "saddle": _SADDLE_BAG,
    "scarf": _SCARF,
    "sneakers": _SNEAKER,
    "sunglasses": _SUNGLASSES,
    "vest": _VEST,
    "weekender": _WEEKENDER,
}
