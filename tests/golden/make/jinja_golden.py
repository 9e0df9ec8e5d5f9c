"""Writes tests/golden/chat/jinja.json: templates, variables and what transformers' own environment renders."""
import json
import os

from transformers.utils.chat_template_utils import _compile_jinja_template

USER = {"role": "user", "content": "  Hi, it's \"é\" <b>\n"}
TURNS = [{"role": "system", "content": "Be kind."}, USER, {"role": "assistant", "content": "Hello!"},
         {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": " 4 "}]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "é", "parameters": {"type": "object", "properties": {
    "a": {"type": "string", "n": [1, 2.5, None, True, 1e20, 1e-7]}, "b": {}}, "required": []}}}]
V = {"messages": TURNS, "tools": TOOLS, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
     "d": {"b": 1, "a": "x", "items": 3}, "s": " aXb-c Äß\t", "l": [3, 1, 2], "n": None}
TEMPLATES = [
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}\n",
    "{%- if messages[0].role == 'system' -%}\n{% set sys = messages[0]['content'] %}{% set rest = messages[1:] %}\n{%- endif -%}\n"
    "{{ bos_token }}{% for m in rest %}\n  {% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}{% endif %}\n"
    "  {%- if m.role == 'user' %}[INST] {% if loop.first %}<<SYS>>\n{{ sys }}\n<</SYS>>\n\n{% endif %}{{ m.content.strip() }} [/INST]"
    "{% else %} {{ m.content | trim ~ ' ' ~ eos_token }}{% endif %}{% endfor %}",
    "{% for m in messages %}\n    {% if m.role == 'assistant' %}\n{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n"
    "    {%- else %}\n{{ m.role }}\n    {# note #}\n    {% endif %}\n{% endfor %}",
    "{% set ns = namespace(k=0, f=false) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.k = ns.k + 1 %}{% continue %}{% endif %}"
    "{% if ns.k > 1 %}{% break %}{% endif %}{{ m.role }}{{ ns.k }}{% endfor %}{{ ns.f }}",
    "{% macro p(x, y='q', z=none) %}({{ x }}|{{ y }}|{{ z }}){% endmacro %}{{ p(1) }}{{ p(1, z=2) }}{{ p('a', 'b', [1]) }}",
    "{{ tools | tojson }}\n{{ tools | tojson(indent=4) }}\n{{ d|tojson(sort_keys=true) }}{{ d }}{{ tools }}",
    "{{ d.items() | list }}{{ d['items'] }}{{ d.get('zz', 4) }}{{ d | dictsort }}{{ d | items | list }}{{ d.keys() | join(',') }}",
    "{{ s.strip() }}|{{ s | upper }}|{{ s | lower }}|{{ s.title() }}|{{ s | title }}|{{ s.capitalize() }}|{{ s.split() }}|{{ s.split('-') }}|{{ s | replace('a', 'zz') }}",
    "{{ l | sort }}{{ l[::-1] }}{{ l[1:] }}{{ l[-1] }}{{ l | first }}{{ l | last }}{{ l | length }}{{ l | map('string') | join('+') }}{{ l | reject('equalto', 1) | list }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}{{ messages | rejectattr('role', 'in', ['user', 'system']) | list | length }}",
    "{{ n }}{{ true }}{{ 1.0 }}{{ 7 // 2 }}{{ -7 % 3 }}{{ 7 / 2 }}{{ 2 ** 8 }}{{ 1e16 }}{{ (1, 'a') }}{{ [none, 'it\\'s', \"q\"] }}{{ nope }}",
    "{{ nope is defined }}{{ n is none }}{{ s is string }}{{ d is mapping }}{{ l is sequence }}{{ l is iterable }}{{ 1 is number }}{{ true is boolean }}{{ l is not string }}",
    "{{ 'a' if n else 'b' }}{{ 'x' if l and not n }}{{ nope or 'dflt' }}{{ nope | default('u') }}{{ n | default('v', true) }}{{ 3 in l }}{{ 4 not in l }}{{ 1 < 2 < 3 }}",
    "{% set x %}a {{ s }} b{% endset %}[{{ x }}]{% set y | trim %}  q {% endset %}[{{ y }}]{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% for k, v in d.items() %}{{ k }}={{ v }}{% if not loop.last %}, {% endif %}{{ loop.previtem }}{{ loop.nextitem }}{% else %}none{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index }}/{{ loop.length }}/{{ loop.revindex }} {{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}",
    "{% raw %}{{ x }} {% endraw %}a\n  {%- if true +%}\nb{% endif -%}   \n c {{- ' d ' -}} e\n {%+ if true %}f{% endif %}\n\n",
    "{{ 'ab\\n' | indent(2) }}{{ 'a\nb\n\nc' | indent(2, true) }}{{ ' 12 ' | int + 1 }}{{ 'x' | int }}{{ '1.5' | float }}{{ 'a,b'.split(',')[-1] }}{{ 'é€'[1] }}{{ 'é€' | length }}",
    "{% if n %}1{% elif l %}2{% elif d %}3{% else %}4{% endif %}{% if false %}{% elif false %}{% else %}{% if true %}5{% endif %}{% endif %}",
    "{% call(x) wrap() %}{{ x }}{% endcall %}" if False else "{% macro w() %}<{{ caller() }}>{% endmacro %}{% call w() %}in{% endcall %}{% filter upper %}abc{% endfilter %}{% with q = 2 %}{{ q }}{% endwith %}",
    "{% set x = 1 %}{% for i in range(3) %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{{ range(1, 10, 3) | list }}",
]

if __name__ == "__main__":
    cases = []
    for template in TEMPLATES:
        text = _compile_jinja_template(template).render(**V)
        cases.append({"template": template, "text": text})
    with open(os.path.join(os.path.dirname(__file__), "..", "chat", "jinja.json"), "w") as f:
        json.dump({"variables": V, "cases": cases}, f, indent=1)
        f.write("\n")
