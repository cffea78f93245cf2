from wakeline.cli import main

main()
