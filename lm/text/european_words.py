"""What the rules of `european` need to know of German, French and Spanish."""

from __future__ import annotations

from dataclasses import dataclass

# Written form; its name in German, French and Spanish.
_UNITS = """
km   Kilometer kilomètre kilómetro
cm   Zentimeter centimètre centímetro
mm   Millimeter millimètre milímetro
m    Meter mètre metro
kg   Kilogramm kilogramme kilogramo
g    Gramm gramme gramo
mg   Milligramm milligramme miligramo
t    Tonne tonne tonelada
l    Liter litre litro
L    Liter litre litro
ml   Milliliter millilitre mililitro
ha   Hektar hectare hectárea
h    Stunde heure hora
min  Minute minute minuto
s    Sekunde seconde segundo
ms   Millisekunde milliseconde milisegundo
kB   Kilobyte kilooctet kilobyte
MB   Megabyte mégaoctet megabyte
GB   Gigabyte gigaoctet gigabyte
TB   Terabyte téraoctet terabyte
V    Volt volt voltio
W    Watt watt vatio
kW   Kilowatt kilowatt kilovatio
kWh  Kilowattstunde kilowattheure kilovatio_hora
Hz   Hertz hertz hercio
kHz  Kilohertz kilohertz kilohercio
MHz  Megahertz mégahertz megahercio
GHz  Gigahertz gigahertz gigahercio
dB   Dezibel décibel decibelio
°C   Grad_Celsius degré_Celsius grado_Celsius
°F   Grad_Fahrenheit degré_Fahrenheit grado_Fahrenheit
°    Grad degré grado
%    Prozent pour_cent por_ciento
"""


def _units(column: int) -> dict[str, str]:
    rows = [line.split() for line in _UNITS.strip().split("\n")]
    return {row[0]: row[column].replace("_", " ") for row in rows}


def _pairs(text: str, apart: str = " ") -> dict[str, str]:
    """One pair a line, or parted by bars."""
    entries = [entry.strip() for entry in text.replace("\n", " | ").split(" | ") if entry.strip()]
    return {key: words for key, words in (entry.split(apart, 1) for entry in entries)}


def _money(text: str, hundredths: str) -> dict[str, tuple[str, str, str]]:
    """Sign: one, several, and the words for hundredths (none of the yen)."""
    rows = [row.split() for row in text.split(" | ")]
    return {
        sign: (one, several, "" if sign == "¥" else hundredths)
        for signs, one, several in rows
        for sign in signs.split("/")
    }


@dataclass(frozen=True)
class Language:
    """A language of :mod:`european`; patterns are regular expressions."""

    code: str
    months: str
    units: dict[str, str]
    per: str
    to: str  # between the ends of a range
    money: dict[str, tuple[str, str, str]]
    signs: dict[str, str]
    address: dict[str, str]  # signs of web addresses
    noun: str  # what may be counted
    feminine: str  # nouns, by their endings
    masculine: str  # exceptions of it
    telephone: str  # the word before a number of it
    abbreviations: dict[str, str]  # by pattern
    ordinals: dict[str, str]  # written ending: CLDR's rules

    def powered(self, unit: str, power: str) -> str:
        """Several of a square or cubic unit."""
        square = power in "2²"
        if self.code == "de":
            return f"{'Quadrat' if square else 'Kubik'}{self.plural(unit).lower()}"
        kind = {"fr": ("cubes", "carrés"), "es": ("cúbicos", "cuadrados")}[self.code][square]
        return f"{self.plural(unit)} {kind}"

    def plural(self, unit: str) -> str:
        """Several of a unit."""
        first, _, rest = unit.partition(" ")
        if unit == self.units["%"]:
            return unit
        if self.code == "de":
            return f"{unit}n" if unit.endswith(("nne", "nde", "nute")) else unit
        return f"{first}{'' if first.endswith('z') else 's'} {rest}".strip()


GERMAN = Language(
    code="de",
    months="Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    units=_units(1),
    per="pro",
    to="bis",
    money=_money(
        "€/EUR Euro Euro | $/USD Dollar Dollar | £/GBP Pfund Pfund | ¥ Yen Yen | R$ Real Real", "{}"
    ),
    signs=_pairs(
        "& und | + plus | ^ hoch | = gleich | × mal | ÷ geteilt durch | @ at | § Paragraf"
        " | % Prozent | ° Grad | € Euro | $ Dollar | £ Pfund | < kleiner als | > größer als"
        " | ± plus minus | # Nummer | ² Quadrat | ³ hoch drei"
    ),
    address=_pairs(". Punkt | / Schrägstrich | - Minus | _ Unterstrich | @ at"),
    noun=r"[A-ZÄÖÜ]\w+",
    feminine=r"\w+(?:e|ung|heit|keit|schaft|ion|tät|ei|in)|Frau|Nacht|Stadt|Welt|Zahl|Mark|Hand",
    masculine=r"Junge|Name|Ende|Auge|Käse|Gedanke|Buchstabe|Kunde|Kollege|Termin",
    telephone="Telefon",
    abbreviations=_pairs(
        r"""z\. ?B\.: zum Beispiel | d\. ?h\.: das heißt | u\. ?a\.: unter anderem
        i\. ?d\. ?R\.: in der Regel | v\. ?Chr\.: vor Christus | n\. ?Chr\.: nach Christus
        usw\.: und so weiter | bzw\.: beziehungsweise | etc\.: et cetera | ca\.: circa
        vgl\.: vergleiche | Vgl\.: Vergleiche | evtl\.: eventuell | ggf\.: gegebenenfalls
        inkl\.: inklusive | max\.: maximal | min\.: minimal | Dr\.: Doktor | Prof\.: Professor
        Hr\.: Herr | Fr\.(?= [A-ZÄÖÜ]): Frau | Nr\.: Nummer | Tel\.: Telefon | Str\.: Straße
        (?<=\b1 )Mio\.: Million | Mio\.: Millionen | (?<=\b1 )Mrd\.: Milliarde | Mrd\.: Milliarden
        S\.(?= ?[0-9]): Seite | Kap\.: Kapitel | Abb\.: Abbildung | Abs\.: Absatz | Art\.: Artikel
        St\.(?= [A-ZÄÖÜ]): Sankt | Jhd?\.: Jahrhundert | e\. ?V\.: eingetragener Verein""",
        ": ",
    ),
    ordinals={},
)

FRENCH = Language(
    code="fr",
    months="janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    units=_units(2) | {"Ko": "kilooctet", "Mo": "mégaoctet", "Go": "gigaoctet", "To": "téraoctet"},
    per="par",
    to="à",
    money=_money(
        "€/EUR euro euros | $/USD dollar dollars | £/GBP livre livres | ¥ yen yens"
        " | R$ real reals",
        "{}",
    ),
    signs=_pairs(
        "& et | + plus | ^ puissance | = égale | × fois | ÷ divisé par | @ arobase | § paragraphe"
        " | % pour cent | ° degrés | € euros | $ dollars | £ livres | < inférieur à | > supérieur à"
        " | ± plus ou moins | # numéro | ² au carré | ³ au cube"
    ),
    address=_pairs(". point | / barre oblique | - tiret | _ tiret bas | @ arobase"),
    noun=r"[^\W\d_]{3,}",
    feminine=r"\w+(?:tion|sion|té|ette|ence|ance|ure)s?|(?:heure|minute|seconde|semaine|année"
    r"|journée|personne|femme|fille|tonne|livre|calorie|page|partie|ville|maison|langue|question"
    r"|réponse|chose|place|classe|étoile|carte|table|nuit|part)s?|fois",
    masculine=r"(?:été|côté|comité|député)s?",
    telephone="téléphone",
    abbreviations=_pairs(
        r"""MM\.(?= [A-ZÉÈ]): Messieurs | M\.(?= (?:et M|[A-ZÉÈ])): Monsieur | Mmes\b: Mesdames
        Mme\b\.?: Madame | Mlle\b\.?: Mademoiselle | Dr\b\.?(?= [A-ZÉÈ]): Docteur
        Pr\b\.?(?= [A-ZÉÈ]): Professeur | etc\.: et cetera | p\. ?ex\.: par exemple
        c\.-à-d\.: c'est-à-dire | av\. J\.-C\.: avant Jésus-Christ | env\.: environ
        apr\. J\.-C\.: après Jésus-Christ | [nN][°º] ?(?=[0-9]): numéro | [tT]él\.: téléphone
        art\.: article | chap\.: chapitre | fig\.: figure
        p\.(?= ?[0-9]): page | St(?=-[A-ZÉÈ]): Saint | Ste(?=-[A-ZÉÈ]): Sainte""",
        ": ",
    ),
    ordinals={
        "er": "masculine", "re": "feminine", "ère": "feminine", "e": "masculine",
        "ème": "masculine", "es": "masculine-plural",
    },
)  # fmt: skip

SPANISH = Language(
    code="es",
    months="enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre"
    " diciembre",
    units=_units(3),
    per="por",
    to="a",
    money=_money("€/EUR euro euros | ¥ yen yenes", "con {} céntimos")
    | _money("$/USD dólar dólares", "con {} centavos")
    | _money("£/GBP libra libras", "con {} peniques")
    | _money("R$ real reales", "con {} centavos"),
    signs=_pairs(
        "& y | + más | ^ elevado a | = igual a | × por | ÷ entre | @ arroba | § sección"
        " | % por ciento | ° grados | € euros | $ dólares | £ libras | < menor que | > mayor que"
        " | ± más o menos | # número | ² al cuadrado | ³ al cubo"
    ),
    address=_pairs(". punto | / barra | - guion | _ guion bajo | @ arroba"),
    noun=r"(?!(?:del|por|con|para|que|más|menos|sobre|entre)\b)[^\W\d_]{3,}",
    feminine=r"\w+(?:as?|ci[óo]n(?:es)?|si[óo]n(?:es)?|dad(?:es)?)|veces|noches?|mujer(?:es)?",
    masculine=r"(?:día|problema|programa|sistema|tema|mapa|idioma|planeta|clima)s?|\w+istas?",
    telephone="teléfono",
    abbreviations=_pairs(
        r"""Sr\.: Señor | Sra\.: Señora | Srta\.: Señorita | Sres\.: Señores | Dr\.: Doctor
        Dra\.: Doctora | Ud\.: usted | Uds\.: ustedes | D\.(?= [A-ZÁÉÍÓÚ]): Don | Dña\.: Doña
        etc\.: etcétera | p\. ?ej\.: por ejemplo | EE\. ?UU\.: Estados Unidos
        a\. ?m\.: a eme | p\. ?m\.: pe eme | a\. ?C\.: antes de Cristo | d\. ?C\.: después de Cristo
        núm\.: número
        [nN]\.? ?º ?(?=[0-9]): número | pág\.: página | págs\.: páginas | tel\.: teléfono
        art\.: artículo | cap\.: capítulo | fig\.: figura
        [aA]v(?:da)?\.: avenida | aprox\.: aproximadamente""",
        ": ",
    ),
    ordinals={"º": "masculine", "ª": "feminine", "er": "masculine-adjective"},
)
