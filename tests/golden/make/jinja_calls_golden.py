"""Writes tests/golden/chat/jinja_calls.json: calls of every builtin filter, test and method with their
arguments, rendered by the environment transformers makes (jinja2 3.1.6, Python 3.11).  text null: it raises."""
import json
import os

from transformers.utils.chat_template_utils import _compile_jinja_template

V = {"s": "  abXab c-äß é\t", "w": "the quick  brown\nfox", "l": [3, 1, 2, 1], "e": [], "n": None, "f": 2.675, "i": -7, "t": True,
     "d": {"b": 1, "a": "x", "C": None}, "p": [{"k": "b", "v": 1, "q": {"z": [5, 6]}}, {"k": "A", "v": 3}, {"k": "a", "v": 2, "q": {"z": [7]}}],
     "tree": [{"n": "a", "kids": [{"n": "b", "kids": []}, {"n": "c", "kids": [{"n": "d", "kids": []}]}]}],
     "html": "<a href='x'>&\"</a>", "u": "Straße Ⅷ x² 123 ١٢", "lines": "a\nb\r\nc\rd\x0be\u2028f\n"}

STRINGS = r"""
s.find('ab') s.find('ab', 3) s.find('ab', 3, 6) s.find('', 3) s.find('', 99) s.find('ß', -4) s.find('zz') s.find('ab', none, -3) s.find()
s.find('a', 1, 2, 3) s.find(1) s.find('a', 'b') s.find(sub='a') s.rfind('ab') s.rfind('ab',0,4) s.rfind('') s.rindex('b') s.rindex('zz')
s.index('X') s.index('X',5) s.index('zz') s.count('a') s.count('a',3) s.count('') s.count('', 99) s.count('ab', 2, 4)
s.startswith('ab', 2) s.startswith('ab',3) s.startswith(('x','ab'),2) s.startswith('', 99) s.startswith('ab', 2, 3) s.startswith(['a'])
s.endswith('é\t') s.endswith('ab', 0, 4) s.endswith(('c','\t')) s.endswith((1,)) s.endswith() s.startswith('a','b')
s.strip() s.strip(' \t') s.lstrip(none) s.rstrip('\té') s.strip(1) s.strip('a','b') s.strip(chars='a')
w.split() w.split(none,1) w.split(' ') w.split(' ',1) w.split(sep='o') w.split(maxsplit=1) w.split(' ',maxsplit=1) w.split('') w.split(1) w.split(' ',1,2)
w.split(sep=' ',foo=1) w.rsplit() w.rsplit(none,1) w.rsplit(' ',1) w.rsplit('o',maxsplit=2) w.rsplit(none,0) w.split(none,0)
w.partition(' ') w.partition('zz') w.rpartition(' ') w.rpartition('zz') w.partition('') w.partition() w.partition(' ',1)
s.replace('ab','Z') s.replace('ab','Z',1) s.replace('','.',2) s.replace('a') s.replace('a','b',1,2) s.replace('a',1) s.replace('ab','Z',0) s.replace('ab','Z',-1)
lines.splitlines() lines.splitlines(true) lines.splitlines(keepends=true) lines.splitlines(false) lines.splitlines(true,1) lines.splitlines(keep=1) ''.splitlines()
s.upper() s.lower() s.title() w.title() w.capitalize() u.swapcase() u.casefold() u.lower() s.upper(1) ','.join(l) ','.join(['a','b']) ','.join('abc') ','.join() ','.join(['a'],1)
'ab'.center(7) 'abc'.center(6) 'ab'.center(7,'*') 'ab'.ljust(5)+'|' 'ab'.rjust(5,'é') 'ab'.center(1) 'ab'.ljust(5,'xx') 'ab'.ljust() '42'.zfill(5) '-42'.zfill(5) '+1'.zfill(2) ''.zfill(2)
'a\tb\n\tc'.expandtabs() 'a\tb'.expandtabs(4) 'a\tb'.expandtabs(tabsize=2) 'a\tb'.expandtabs(0)
'123'.isdigit() 'x²'.isdigit() '²'.isdigit() '²'.isdecimal() '١٢'.isdigit() '١٢'.isdecimal() ''.isdigit() 'ab'.isalpha() 'aß'.isalpha() 'a1'.isalpha() 'a1²Ⅷ'.isalnum() 'a_'.isalnum()
'aé'.islower() 'aÉ'.islower() '1'.islower() 'A1'.isupper() ''.isascii() 'é'.isascii() ' \t'.isspace() ''.isspace() 'a'.isspace(1)
'abc'.removeprefix('a') 'abc'.removeprefix('b') 'abc'.removesuffix('bc') 'abc'.removesuffix() 'abc'.removeprefix(('a',)) 'abc'.nosuch() 'abc'.removeprefix(prefix='a')
'%s|%s'|format('a',1) '%s'%1 '%s %s'%(1,'b') '%d'%3.7 '%5d|'%42 '%-5d|'%42 '%05d'%-42 '%+d'%5 '%x %X %o'%(255,255,8) '%#x'%255 '%.2f'%f '%8.3f|'%f '%e'%12345.678 '%g'%0.0001 '%g'%1e20 '%%'%() '%5s|'%'é' '%-5s|'%'é' '%.2s'%'abc'
'%r'%'a' '%(a)s %(b)d'%d '%(zz)s'%d '%s'%l '%s'%(l,) '%s %s'%(1,) '%s'%(1,2) 'x'%(1,) 'x'%() 'x'%1 '%d'%'a' '%'%1 '%i'%t '%*d'%(5,3) '%c'%'a' '%s'%n 'x'%d '%.3d'%5 '% d'%5 '%s'%d
'{} {}'.format(1,'a') '{1} {0}'.format(1,'a') '{a}'.format(a=2) '{:>5}|'.format('x') '{:<5}|'.format(3) '{:5}|'.format(3) '{:5}|'.format('x') '{:^6}|'.format('abc') '{:^5}|'.format('ab') '{:*^9.2f}'.format(f) '{:,}'.format(1234567) '{:,.1f}'.format(1234567.25) '{:05d}'.format(-3) '{:+}'.format(3)
'{:x}'.format(255) '{:#b}'.format(5) '{:%}'.format(0.125) '{:.1%}'.format(0.125) '{{}}'.format() '{'.format() '}'.format() '{}'.format() '{0[k]}'.format(p[0]) '{0[1]}'.format(l) '{!r}'.format('a') '{:.2}'.format('abc') '{}'.format(none) '{}'.format(true) '{:d}'.format('a') '{:5}|'.format(true) '{:s}'.format(1)
d.get('a') d.get('zz') d.get('zz',4) d.get() d.get('a',1,2) d.get(key='a') d.items(1) d.keys()|list d.values()|list d.copy() d.items()|list d.get('zz',default=1) d.pop('a') d.update({}) l.index(1) l.index(1,2) l.index(1,2,3) l.index(9) l.count(1) l.count() l.copy() l.append(1) l.pop() l.sort() l.reverse() (1,2).index(2) (1,2).count(1) l.index(1,-1)
"""
FILTERS = r"""
s|trim s|trim(' \t') s|trim(chars='é\t ') 'x'|trim(none) s|trim(1) s|trim('a','b') n|trim u|upper n|upper s|lower s|capitalize w|title 'a-b(c'|title s|upper(1)
s|replace('ab','Z') s|replace('ab','Z',1) s|replace('ab','Z',count=1) s|replace('ab','Z',none) 42|replace(4,'x') s|replace('a') s|replace(old='ab',new='Z') s|replace('a','b',1,2) s|replace('a','b',n=1)
w|indent w|indent(2,true) w|indent('>>') w|indent(width=1,first=true) 'a\n\nb'|indent(2,blank=true) 'a\n\nb\n'|indent(2) 'a\r\nb'|indent(1) ''|indent(2,true) w|indent(2,true,false,1) n|indent '\n'|indent(2)
' 12 '|int '0x1f'|int '0x1f'|int(0,16) '0x1f'|int(base=16) '1f'|int(0,16) '0b11'|int(0,2) '0b11'|int(0,0) '017'|int(0,0) '017'|int(0,8) 'zz'|int(7) 'zz'|int(default=7) '3.9'|int '-3.9'|int 3.9|int '1_000'|int '1__0'|int(5) '_1'|int(5) 'z'|int(0,36) 'z'|int(0,37) n|int n|int(4) t|int l|int(3) ''|int '1e3'|int 'inf'|int(3) 'nan'|int 12|int(0,16) '+5'|int '0x'|int(1,16) '1'|int(0,10,1) nope|int '00'|int(5,0) '0_0'|int(5,0)
'1.5'|float 'x'|float 'x'|float(2.5) ' 1e3 '|float 'inf'|float '1_0.5'|float n|float(1) t|float 3|float '0x10'|float nope|float l|float('q') '.5'|float '5.'|float
f|round f|round(2) 2.5|round 3.5|round -2.5|round 42|round 42|round(2) 42.55|round(1,'floor') 42.51|round(1,'ceil') 42|round(0,'ceil') f|round(precision=1) f|round(1,method='floor') f|round(1,'up') 'x'|round 1234.5|round(-2) 1234|round(-2) 0.5|round 1e300|round(2) t|round 5.015|round(2) 1.005|round(2)
i|abs f|abs 'x'|abs t|abs -2.5|abs l|sum e|sum l|sum(start=10) p|sum('v') p|sum(attribute='v',start=1) p|sum('v',5) ['a','b']|sum l|sum('x') [[1],[2]]|sum(start=[]) [1.5,2]|sum
l|sort l|sort(true) l|sort(reverse=true) ['b','A','a']|sort ['b','A','a']|sort(case_sensitive=true) p|map(attribute='k')|list p|sort(attribute='k')|map(attribute='v')|list p|sort(attribute='k,v')|map(attribute='v')|list p|sort(true,true,'k')|map(attribute='k')|list p|sort(false,false,'v')|map(attribute='v')|list l|sort(x=1) [1,'a']|sort l|sort(1,2,3,4)
l|unique|list ['a','A','b']|unique|list ['a','A','b']|unique(true)|list p|unique(attribute='k')|map(attribute='v')|list l|unique(1,2,3)|list [1,true,1.0]|unique|list
l|min l|max ['b','A']|min ['b','A']|min(true) p|min(attribute='v') e|min is defined p|max('x','v') l|min(1,2,3)
p|groupby('k') p|groupby('k',case_sensitive=true) p|groupby('zz',default='q')|length p|groupby(attribute='k')|map(attribute='grouper')|list p|groupby('k')|map('first')|list p|groupby(0) p|groupby('k')|map(attribute='list')|map('length')|list
l|batch(2)|list l|batch(3,'x')|list l|batch(2,fill_with=0)|list l|slice(3)|list l|slice(3,'x')|list e|slice(2)|list l|batch|list
l|join l|join(',') l|join(d=',') p|join(',',attribute='k') p|join(',','v') l|join(1) l|join(',',none,1) 'abc'|join('-') n|join l|join(attribute=none)
l|first l|last e|first is defined 'é2'|first w|last l|first(1) d|first d|last l|map('string')|last
d|dictsort d|dictsort(true) d|dictsort(reverse=true) {'a':2,'b':1}|dictsort(false,'value') {'a':2,'b':1}|dictsort(by='value',reverse=true) d|dictsort(by='zz') l|dictsort {'b':1,'C':2}|dictsort(case_sensitive=true) d|items|list nope|items|list l|items|list
p|map(attribute='q.z.0')|list p[:1]|map(attribute='q.z.1')|list p|map(attribute='zz',default=0)|list p|map(attribute='zz')|list l|map('string')|join l|map('replace',1,'x')|list l|map('nosuch')|list l|map|list l|map(attribute='x',y=1)|list l|map('int',base=3)|list e|map('nosuch')|list ['0xa']|map('int',base=16)|list ['a','b']|map('upper')|list
l|select|list l|select('>',1)|list l|select('==',1)|list l|select('ge',2)|list l|reject('odd')|list l|select('in',[1])|list p|selectattr('v','==',2)|map(attribute='k')|list p|selectattr('q')|list|length p|rejectattr('q')|list|length p|selectattr('v','divisibleby',2)|list|length p|selectattr('q.z.0','==',5)|list|length p|selectattr('q','defined')|list|length l|select(1)|list l|select('nosuch')|list l|select('==')|list l|select('==',1,2)|list p|selectattr|list l|select('odd',1)|list
nope|default nope|default('x') ''|default('x',true) ''|default('x',boolean=true) ''|default('x') nope|d(default_value=3) nope|default('x',false,1) none|default('x') none|d('x',true)
'abc'|list d|list nope|list 3|list l|reverse|list 'aé'|reverse d|reverse|list l|length nope|length 3|length d|count l|map('string')|length
'ab'|center(6) 'ab'|center|length 'foo bar baz qux'|truncate(9) 'foo bar baz qux'|truncate(9,true) 'foo bar baz qux'|truncate(11) 'foo bar baz qux'|truncate(11,false,'..') 'foo bar baz qux'|truncate(9,leeway=0,end='') 'foo'|truncate(2) 'foo bar baz'|truncate(length=2,end='....') 'foobarbazqux'|truncate(6,leeway=0)
w|wordcount 'a_b c-d é²'|wordcount ''|wordcount html|escape html|e 'x'|safe html|e|e html|forceescape (html|e)+'<' '<'+(html|e) 3|e html|e(1) n|string l|string t|string f|string s|string(1) html|safe|escape
d|attr('a') is defined w|attr('nosuch') is defined d|attr() '%s-%s'|format(1,'x') '%(a)s'|format(a=3) '%s'|format 'x'|format(1)
d|tojson d|tojson(true) 'é'|tojson(true) 'é'|tojson(ensure_ascii=true) l|tojson(indent=2) l|tojson(false,2) l|tojson(separators=(',',':')) d|tojson(sort_keys=true) d|tojson(false,none,(',','=')) l|tojson(foo=1) l|tojson(1,2,3,4,5) (1,2)|tojson nope|tojson html|tojson l|map('string')|list|tojson 1e-7|tojson
l|nosuch l|random is defined
"""
TESTS = r"""
1 is '==' 1
1 is == 1
1 is eq 1|1 is equalto(1)|1 is ne 2|1 is lt 2|1 is lessthan(2)|1 is le 1|2 is gt 1|2 is greaterthan(1)|1 is ge 2|1 is eq|1 is eq(1,2)
3 is divisibleby 3|3 is divisibleby(num=2)|3 is divisibleby 0|3 is divisibleby|3.0 is odd|4 is even|4.5 is even|'x' is odd|t is odd
1 is in [1,2]|'a' is in 'abc'|'a' is in d|1 is in(seq=[1])|1 is in 3|'a' is in l
'ab' is lower|'Ab' is lower|'AB' is upper|1 is lower|(html|e) is escaped|html is escaped
n is sameas none|t is sameas true|1 is sameas true|l is sameas l|[] is sameas []|1 is sameas 1
'trim' is filter|'nosuch' is filter|'odd' is test|'nosuch' is test|'map' is filter|'==' is test|'tojson' is filter|3 is filter
n is none|n is not none|nope is defined|nope is undefined|s is string|d is mapping|l is mapping|l is sequence|nope is sequence|3 is iterable|d is iterable|nope is iterable
1 is number|t is number|f is number|1 is integer|t is integer|f is float|1 is float|t is boolean|1 is boolean|t is true|t is false|1 is true|range is callable|s is callable|s.upper is callable
n is none(1)|1 is defined(2)|1 is nosuch|s is string and n is none|n is none or nope|not n is none|1 is number == true|1 is eq 1 if n else 2
range(3)|list|range(1,7,2)|list|range(5,0,-2)|list|range()|range(1.5)|range(3,stop=4)|dict(a=1)|dict({'a':1},b=2)|dict([['a',1],['b',2]])|dict([1])|dict(1)|namespace(a=1).a|raise_exception('x')|raise_exception()|nosuch(1)
d.b|d['b']|d.zz is defined|d.items is callable|l[0]|l[-1]|l[9] is defined|l['x'] is defined|p.0.k|p[0]['q'].z[-1]|s[2:4]|s[::-1]|l[1:]|l[:-1]|l[::2]|s['x'] is defined|n.x|n['x']|nope.x|nope.x.y|nope['x']|(1).x is defined
'a' 'b'|'a' ~ 1 ~ none|1 + 1.5|7 // 2|-7 // 2|-7 % 3|7 % -3|7.5 % 2|2 ** 10|2 ** -1|2 ** 3 ** 2|-2 ** 2|1 / 0|1 % 0|'a' * 3|3 * 'ab'|l * 2|[1] + [2]|(1,) + (2,)|'a' + 1|none + 1|true + 1|1 < 2 < 3|3 > 2 > 2|'a' < 'b'|'a' < 1|[1,2] < [1,3]|none == none|1 == 1.0|1 == true|'1' == 1|nope == nope|nope == none|[1] == (1,)|{'a':1} == {'a':1.0}|not 1|not not 1|1 and 2|0 or none|1 if 0|1 in [1]|2 not in [1]|'a' in nope|1 in 1|0.1 + 0.2|1e16|1e15|1.0|-0.0|1e-5|100000000000000000.0|1_000|0x1f|0o17|0b11|1.5e3
"""
STATEMENTS = [
    "{% for k, (a, b) in [[1, [2, 3]], [4, [5, 6]]] %}{{ k }}{{ a }}{{ b }};{% endfor %}",
    "{% for (a, b), c in [[[1, 2], 3]] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for (x) in [1, 2] %}{{ x }}{% endfor %}{% for (x,) in [[1], [2]] %}{{ x }}{% endfor %}",
    "{% set a, (b, c) = 1, [2, 3] %}{{ a }}{{ b }}{{ c }}{% set (q, r) = (4, 5) %}{{ q }}{{ r }}",
    "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for i, v in d|dictsort %}{{ i }}{{ v }}{% endfor %}",
    "{% for x in tree recursive %}{{ loop.depth }}{{ x.n }}({{ loop(x.kids) }}){% endfor %}", "{% for x in l %}{{ loop(l) }}{% endfor %}",
    "{% for x in tree recursive %}{{ x.n }}{{ loop(x.kids, 1) }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x) }}{% endfor %}", "{% for x in l %}{{ loop.cycle() }}{% endfor %}", "{% for x in l %}{{ loop.cycle(a=1) }}{% endfor %}",
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, b=3) }}{{ f(b=4, a=5) }}{{ f() }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(z=2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}", "{% set x = s.split('-') %}{{ x[-1] }}", "{% for g in p|groupby('v') %}{{ g.grouper }}{{ g.list|length }}{{ g[0] }}{% endfor %}{% for k, m in p|groupby('k') %}{{ k }}{{ m|length }}{% endfor %}",
    "{% filter replace('a', 'b', 1) %}aaa{% endfilter %}{% filter upper(1) %}a{% endfilter %}", "{% set x | replace('a', 'b', count=1) %}aaa{% endset %}{{ x }}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{% else %}-{% endfor %}", "{% for x in nope %}{% else %}none{% endfor %}", "{% for x in 3 %}{% endfor %}", "{% for c in 'éa' %}{{ c }}.{% endfor %}",
    "{% set ns = namespace(d, q=1) %}{{ ns.a }}{{ ns.q }}", "{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}{{ ns.y is defined }}", "{% set d.x = 1 %}", "{{ 'a' | upper | replace('A', 'é') | length }}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}", "{% if l and l|length > 2 %}y{% endif %}", "{{ {'a': [1, {'b': none}]} }}", "{{ l.__class__ is defined }}", "{{ ''.__class__ }}",
    "{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}", "{% set l.x = 1 %}",
    "{%- for m in p -%} {{ m.k }} {%- endfor -%}", "{{ (l | map('string') | list)[0] }}", "{{ ['a', 'b'][1 if t else 0] }}", "{{ l[n] is defined }}", "{{ l['0'] is defined }}",
]


def expressions():
    for block in (STRINGS, FILTERS):
        item, quoted, depth = "", False, 0
        for c in block:
            quoted ^= c == "'"
            depth += 0 if quoted else (c in "([{") - (c in ")]}")
            if c in " \n" and not quoted and depth == 0:
                if item and not item.endswith((" is", " not")):
                    yield item
                    item = ""
            else:
                item += c
        assert not item
    for line in TESTS.strip().splitlines():
        yield from [line] if line.startswith("1 is =") or "'=='" in line[:9] else split(line)


def split(line):  # at | that stands between expressions, which has no spaces round it in a filter either
    part, depth = "", 0
    for i, c in enumerate(line):
        depth += (c in "([{") - (c in ")]}")
        if c == "|" and depth == 0 and not line[i + 1:].startswith(("list", "length")):
            yield part
            part = ""
        else:
            part += c
    yield part


def render(template):
    try:
        return _compile_jinja_template(template).render(**V)
    except Exception as e:
        assert not isinstance(e, (NotImplementedError, MemoryError))
        return None


# What nibble refuses though jinja2 renders it: documented in docs/formats.md 11.10.
REFUSED = ["'%c'%'a'", "d.items is callable", "l|random is defined"]

if __name__ == "__main__":
    out = []
    seen = set()
    joined = []
    for e in expressions():
        joined.append(e)
    fixed, i = [], 0
    while i < len(joined):  # "x|first is defined" was cut at its spaces
        e = joined[i]
        while i + 1 < len(joined) and joined[i + 1] in ("is", "defined"):
            i += 1
            e += " " + joined[i]
        fixed.append(e)
        i += 1
    for e in fixed:
        if e in seen or e in REFUSED:
            continue
        seen.add(e)
        out.append({"template": "{{ " + e + " }}", "text": render("{{ " + e + " }}")})
    for t in STATEMENTS:
        out.append({"template": t, "text": render(t)})
    with open(os.path.join(os.path.dirname(__file__), "..", "chat", "jinja_calls.json"), "w") as f:
        f.write('{"variables": ' + json.dumps(V, ensure_ascii=False) + ',\n "cases": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in out))
        f.write("\n]}\n")
    print(len(out), sum(c["text"] is None for c in out))
