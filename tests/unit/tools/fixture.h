/* cmocka with what it needs before it. */
#ifndef UNIT_TOOLS_FIXTURE_H
#define UNIT_TOOLS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif
