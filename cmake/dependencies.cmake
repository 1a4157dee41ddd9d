# The only file that knows where the libraries come from. Arrow and Parquet: the pinned pyarrow wheel in .venv (a second
# Arrow in a Python process would crash it, so there is one). Everything else: Debian's packages.
set(SNOWMELT_VENV "${CMAKE_SOURCE_DIR}/.venv" CACHE PATH "virtual environment that holds the pinned pyarrow")
if(SKBUILD)
  # A wheel is built with its own interpreter, and pyarrow is one of the build's requirements.
  set(SNOWMELT_PYTHON "${Python_EXECUTABLE}" CACHE FILEPATH "the interpreter the wheel is for")
endif()
find_program(SNOWMELT_PYTHON NAMES python3 PATHS "${SNOWMELT_VENV}/bin" NO_DEFAULT_PATH REQUIRED)
execute_process(
  COMMAND "${SNOWMELT_PYTHON}" -c "import importlib.util as u; print(u.find_spec('pyarrow').submodule_search_locations[0])"
  OUTPUT_VARIABLE PYARROW_DIR OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)

foreach(name arrow parquet)
  add_library(snowmelt_${name} SHARED IMPORTED)
  set_target_properties(snowmelt_${name} PROPERTIES
    IMPORTED_LOCATION "${PYARROW_DIR}/lib${name}.so.2600"
    INTERFACE_INCLUDE_DIRECTORIES "${PYARROW_DIR}/include")  # an imported target's are system headers: no warnings from them
endforeach()
target_link_libraries(snowmelt_parquet INTERFACE snowmelt_arrow)

find_package(Threads REQUIRED)
find_package(CURL REQUIRED)
find_package(PostgreSQL REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json REQUIRED)
find_package(fmt REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(libdeflate REQUIRED IMPORTED_TARGET libdeflate)
if(SNOWMELT_BUILD_PROGRAMS)
  find_package(CLI11 REQUIRED)
  find_package(GTest REQUIRED)
endif()
