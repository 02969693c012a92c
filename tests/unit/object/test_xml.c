/* The reader of XML: what it takes, and that it takes nothing else, wherever a document is cut. */
#include "tests/unit/object/case.h"

#include "blockdev/tier/object/xml.h"

/* Events as text: "+a" opens, "-a=TEXT" closes, "." the end, "!" an error. */
static void walk(const char *document, size_t size, char *shown, size_t room)
{
	char text[64];
	/* Of exactly that size, so that a sanitizer sees a step beyond. */
	char *copy = malloc(size > 0 ? size : 1);
	assert_non_null(copy);
	memcpy(copy, document, size);
	struct ob_xml xml = ob_xml_init(copy, size);
	size_t used = 0;
	shown[0] = '\0';
	for (;;) {
		enum ob_xml_event event = ob_xml_next(&xml);
		assert_in_range(xml.depth, 0, OB_XML_DEPTH_MAX);
		if (event == OB_XML_OPEN) {
			used += (size_t)snprintf(shown + used, room - used, "+%s", ob_xml_name(&xml, xml.depth - 1));
			ob_xml_keep(&xml, text, sizeof(text));
		} else if (event == OB_XML_CLOSE) {
			used += (size_t)snprintf(shown + used, room - used, "-%s=%s", ob_xml_name(&xml, xml.depth - 1),
						 xml.text != NULL ? text : "?");
		} else {
			snprintf(shown + used, room - used, event == OB_XML_END ? "." : "!");
			break;
		}
		assert_true(used < room);
	}
	free(copy);
}

static void expect(const char *document, const char *wanted)
{
	char shown[1024];
	walk(document, strlen(document), shown, sizeof(shown));
	assert_string_equal(shown, wanted);
}

static void documents(void **state)
{
	(void)state;
	expect("<a/>", "+a-a=.");
	expect("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a>x</a>\n", "+a-a=x.");
	expect("\xef\xbb\xbf<a>x</a>", "+a-a=x.");
	expect("<a b='1' c=\"<>/\" ><b>1</b><c/></a >", "+a+b-b=1+c-c=-a=?.");
	expect("<s:a xmlns:s='x'><s:b>y</s:b></s:a>", "+a+b-b=y-a=?.");
	/* What stands behind an element's end is not its text. */
	expect("<a>1<b>2</b>3</a>", "+a+b-b=2-a=?.");
	expect("<a><!-- <b> --><?x <c> ?>t</a>", "+a-a=t.");
	expect("<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x42;&#xe4;&#x20ac;&#x1F600;</a>",
	       "+a-a=<>&\"'AB\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80.");
}

static void what_is_refused(void **state)
{
	static const char *const bad[] = {"",
					  " ",
					  "x",
					  "<",
					  "<a",
					  "<a>",
					  "<a></b>",
					  "</a>",
					  "<a></a",
					  "<a/><b/>",
					  "<a/>x",
					  "x<a/>",
					  "<a>&x;</a>",
					  "<a>&#;</a>",
					  "<a>&#x;</a>",
					  "<a>&#xg;</a>",
					  "<a>&#0;</a>",
					  "<a>&#xd800;</a>",
					  "<a>&#1114112;</a>",
					  "<a>&#99999999999999999;</a>",
					  "<a>&",
					  "<!DOCTYPE a><a/>",
					  "<a><![CDATA[x]]></a>",
					  "<a b='></a>",
					  "<a <b/>",
					  "< a/>",
					  "<a><!-- </a>",
					  "<a:></a:>"};
	char shown[1024];
	(void)state;
	for (unsigned i = 0; i < NF_ARRAY_LEN(bad); i++) {
		walk(bad[i], strlen(bad[i]), shown, sizeof(shown));
		assert_int_equal(shown[strlen(shown) - 1], '!');
	}
	walk("<a>\0</a>", 8, shown, sizeof(shown));
	assert_string_equal(shown, "+a!");
}

static void depth(void **state)
{
	char document[OB_XML_DEPTH_MAX * 7 + 8], shown[1024];
	size_t used = 0;
	(void)state;
	for (unsigned extra = 0; extra < 2; extra++) {
		used = 0;
		for (unsigned i = 0; i < OB_XML_DEPTH_MAX + extra; i++)
			used += (size_t)sprintf(document + used, "<a>");
		for (unsigned i = 0; i < OB_XML_DEPTH_MAX + extra; i++)
			used += (size_t)sprintf(document + used, "</a>");
		walk(document, used, shown, sizeof(shown));
		assert_int_equal(shown[strlen(shown) - 1], extra == 0 ? '.' : '!');
	}
}

static void names_and_texts_that_are_long(void **state)
{
	char document[400], shown[1024], text[8];
	(void)state;
	for (unsigned size = OB_XML_NAME_MAX - 2; size < OB_XML_NAME_MAX + 2; size++) {
		snprintf(document, sizeof(document), "<%0*d/>", (int)size, 0);
		walk(document, strlen(document), shown, sizeof(shown));
		assert_int_equal(shown[strlen(shown) - 1], size < OB_XML_NAME_MAX ? '.' : '!');
	}
	for (unsigned size = 6; size < 10; size++) {
		snprintf(document, sizeof(document), "<a>%0*d</a>", (int)size, 0);
		struct ob_xml xml = ob_xml_init(document, strlen(document));
		assert_int_equal(ob_xml_next(&xml), OB_XML_OPEN);
		ob_xml_keep(&xml, text, sizeof(text));
		assert_int_equal(ob_xml_next(&xml), OB_XML_CLOSE);
		assert_int_equal(xml.text_cut, size > 7);
		assert_int_equal(strlen(text), NF_MIN(size, 7));
		assert_int_equal(ob_xml_next(&xml), OB_XML_END);
	}
}

static void cut_anywhere(void **state)
{
	static const char document[] = "<?xml version='1.0'?><a x='1'><b>&amp;</b><!-- c --><d/></a>";
	char shown[1024];
	(void)state;
	for (size_t size = 0; size < sizeof(document) - 1; size++) {
		walk(document, size, shown, sizeof(shown));
		assert_int_equal(shown[strlen(shown) - 1], '!');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(documents), cmocka_unit_test(what_is_refused),
					   cmocka_unit_test(depth), cmocka_unit_test(names_and_texts_that_are_long),
					   cmocka_unit_test(cut_anywhere)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
